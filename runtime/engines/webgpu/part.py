"""--engine webgpu."""

ABOUT = "ONNX Runtime on a GPU of any vendor, by its WebGPU plug-in."
CONTRACT = "Engine"
NAMES = {"webgpu": "ONNX Runtime on a GPU of any vendor, by its WebGPU plug-in"}
CHECK = "find_missing"
EXTRA = "webgpu"
ADAPTERS = "vulkan:adapters"
PACKAGES = ("onnxruntime-ep-webgpu",)
NEEDS = ("runtime/engines/onnxruntime_gpu",)
PAGE = "docs/engines.md"
