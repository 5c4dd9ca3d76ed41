ABOUT = "Two networks on the same samples: which decisions differ, and whether one is really better."
CONTRACT = "Observer"
HEARS = ("eval",)
OPTIONS = "PairedOptions"
GIVES = {"paired": "paired:compare"}
PAGE = "docs/evaluation.md"
