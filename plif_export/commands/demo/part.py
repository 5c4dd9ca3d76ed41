"""The command `plif demo`."""

CONTRACT = "Command"
ABOUT = "A demo on the model that ships with the project: export, prove, evaluate, stream, and draw pictures."
REQUIRES = ("torch", "onnx", "onnxruntime")
EXTRA = "cpu,export"
NEEDS = ("runtime/datasets/digits", "runtime/observers/evaluation_report")
