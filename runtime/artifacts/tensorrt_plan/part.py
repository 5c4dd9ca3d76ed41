"""The part that recognises engine files of TensorRT and TensorRT-RTX and reads their card."""

ABOUT = "One file: the card, then the plan that TensorRT or TensorRT-RTX opens."
CONTRACT = "Target"
NAMES = ("tensorrt", "tensorrt-rtx")
SUFFIX = ".engine"
PATTERN = rb".{4}\{|.trt"  # a length, then the brace of a JSON object; or a plan without a card
PAGE = "docs/tensorrt.md"
