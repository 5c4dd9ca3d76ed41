ABOUT = "Weights that are rounded while they are learned."
CONTRACT = "Observer"
OPTIONS = "keys:RoundedKeys"
PAGE = "docs/precision.md"
