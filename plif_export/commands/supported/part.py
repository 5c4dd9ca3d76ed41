"""The command `plif check`."""

CONTRACT = "Command"
NAMES = ("check",)
ABOUT = "Lists the supported layers of a model or artifact; exit code 1 if a layer is not supported."
GIVES = {"check": "layers:check", "check_file": "layers:check_file", "CheckReport": "layers:CheckReport"}
REQUIRES = ("torch", "onnx", "onnxruntime")
EXTRA = "cpu,export"
PAGE = "docs/export.md"
