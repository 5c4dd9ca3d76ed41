"""The process without rights that opens the graphs of others, and the list of the artifacts that are ours."""

ABOUT = "ONNX Runtime and OpenVINO in a process without rights, for artifacts from anywhere."
CONTRACT = "Engine"
NAMES = ()
HEARS = ("opening",)
NEEDS = ("runtime/formats/child",)
PAGE = "docs/files.md"
