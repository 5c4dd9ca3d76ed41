"""`plif demo`."""

CONTRACT = "Command"
ABOUT = "The main job on what ships with the project: export, prove, evaluate, stream; ends with pictures."
REQUIRES = ("torch", "onnx", "onnxruntime")
EXTRA = "cpu,export"
NEEDS = ("runtime/datasets/digits", "runtime/observers/evaluation_report")
