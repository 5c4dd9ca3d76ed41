ABOUT = "Whether a network notices that subnormal numbers are made zero; without it they are kept."
CONTRACT = "Check"
GIVES = {"flushing": "flushing:find_flush_effect"}
PAGE = "docs/numerics.md"
