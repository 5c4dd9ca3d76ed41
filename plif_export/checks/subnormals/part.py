ABOUT = "Whether a network notices that subnormal numbers are made zero; without it they are kept."
CONTRACT = "Check"
GIVES = {"flushing": "flushing:notices"}
PAGE = "docs/numerics.md"
