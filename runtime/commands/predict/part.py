"""`plif predict`"""

CONTRACT = "Command"
ABOUT = "Labels for recordings without labels."
CALL = "unlabelled:predict"
PAGE = "docs/evaluation.md"
