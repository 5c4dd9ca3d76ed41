"""The part that recognises a Triton model repository and reads its card."""

ABOUT = "A folder, the model repository of a Triton server, with card.json beside the model's folder."
CONTRACT = "Target"
NAMES = ("triton",)
SUFFIX = "_triton"
HOLDS = "*/config.pbtxt"
PAGE = "docs/triton.md"
