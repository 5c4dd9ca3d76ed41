ABOUT = "Compares two networks on the same samples: changed decisions, and McNemar's test."
CONTRACT = "Observer"
HEARS = ("eval",)
OPTIONS = "PairedOptions"
GIVES = {"paired": "paired:compare_decisions"}
PAGE = "docs/evaluation.md"
