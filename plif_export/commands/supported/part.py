"""`plif check`."""

CONTRACT = "Command"
NAMES = ("check",)
ABOUT = "What of this model or artifact is supported, and where; exit code 1 when something is not."
GIVES = {"check": "layers:check", "check_file": "layers:check_file", "CheckReport": "layers:CheckReport"}
REQUIRES = ("torch", "onnx", "onnxruntime")
EXTRA = "cpu,export"
PAGE = "docs/export.md"
