"""The engine of `--engine torch`."""

ABOUT = "PyTorch, for a model.pt itself."
CONTRACT = "Engine"
NAMES = {"torch": "PyTorch, for a model.pt itself"}
AUTO = (".pt",)
REQUIRES = ("torch",)
EXTRA = "train"
PACKAGES = ("torch",)
PAGE = "docs/engines.md"
