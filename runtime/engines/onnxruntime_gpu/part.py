"""--engine onnxruntime-cuda and --engine onnxruntime-tensorrt."""

ABOUT = "ONNX Runtime on a GPU of NVIDIA, by its CUDA or its TensorRT provider."
CONTRACT = "Engine"
NAMES = {
    "onnxruntime-cuda": "ONNX Runtime on a GPU of NVIDIA, by CUDA: --device cuda",
    "onnxruntime-tensorrt": "ONNX Runtime on a GPU of NVIDIA, by TensorRT",
}
CHECK = "find_missing"
EXTRA = "gpu"
PACKAGES = ("onnxruntime-gpu",)
NEEDS = ("runtime/engines/tensorrt_plan",)
PAGE = "docs/engines.md"
