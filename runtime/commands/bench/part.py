"""`plif bench`"""

CONTRACT = "Command"
ABOUT = "Latency, throughput and size side by side in one run, with rates, proof and accuracy beside them."
GIVES = {"bench": "table:bench"}
PAGE = "docs/performance.md"
