"""The command `plif predict`."""

CONTRACT = "Command"
ABOUT = "Labels for recordings without labels."
GIVES = {"predict": "unlabelled:predict"}
PAGE = "docs/evaluation.md"
