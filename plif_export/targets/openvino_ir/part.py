"""The part of --to openvino."""

ABOUT = "A folder with model.xml and model.bin, for OpenVINO."
CONTRACT = "Target"
NAMES = ("openvino",)
REQUIRES = ("openvino",)
EXTRA = "openvino"
NEEDS = ("runtime/engines/openvino_ir",)
PAGE = "docs/openvino.md"
