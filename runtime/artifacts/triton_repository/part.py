"""A model repository is recognised, and its card is read."""

ABOUT = "A folder, the model repository of a Triton server, with card.json beside the model's folder."
CONTRACT = "Target"
NAMES = ("triton",)
SUFFIX = "_triton"
HOLDS = "*/config.pbtxt"
PAGE = "docs/triton.md"
