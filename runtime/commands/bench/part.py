"""The command `plif bench`."""

CONTRACT = "Command"
ABOUT = "Latency, throughput and size side by side in one run, with firing rates, proof and accuracy."
GIVES = {"bench": "table:bench"}
PAGE = "docs/performance.md"
