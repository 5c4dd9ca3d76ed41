ABOUT = "Weights that are rounded while they are learned."
CONTRACT = "Observer"
OPTIONS = "keys:Keys"
PAGE = "docs/precision.md"
