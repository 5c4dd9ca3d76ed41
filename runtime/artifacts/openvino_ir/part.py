"""The part that recognises a folder for OpenVINO and reads its card."""

ABOUT = "A folder with model.xml, model.bin and card.json."
CONTRACT = "Target"
NAMES = ("openvino",)
SUFFIX = "_openvino"
HOLDS = "model.xml"
PAGE = "docs/openvino.md"
