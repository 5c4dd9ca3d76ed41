"""--to openvino."""

ABOUT = "A folder with model.xml and model.bin, for OpenVINO."
CONTRACT = "Target"
REQUIRES = ("openvino",)
EXTRA = "openvino"
PAGE = "docs/openvino.md"
