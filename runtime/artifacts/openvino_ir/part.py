"""A folder for OpenVINO is recognised, and its card is read."""

ABOUT = "A folder with model.xml, model.bin and card.json."
CONTRACT = "Target"
NAMES = ("openvino",)
SUFFIX = "_openvino"
HOLDS = "model.xml"
PAGE = "docs/openvino.md"
