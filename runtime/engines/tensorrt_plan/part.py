"""--engine tensorrt and --engine tensorrt-rtx."""

ABOUT = "An engine file of TensorRT or TensorRT-RTX, on a GPU of NVIDIA."
CONTRACT = "Engine"
NAMES = {
    "tensorrt": "TensorRT on the GPU that --to tensorrt built for",
    "tensorrt-rtx": "TensorRT-RTX on a GPU, for --to tensorrt-rtx",
}
CHECK = "find_missing"
EXTRA = "tensorrt"
PACKAGES = ("tensorrt", "tensorrt-rtx-cu13-libs")
NEEDS = ("runtime/artifacts/tensorrt_plan",)
PAGE = "docs/tensorrt.md"
