ABOUT = "Checks that a network computes the same if subnormal numbers are flushed to zero; without it they are kept."
CONTRACT = "Check"
GIVES = {"flushing": "flushing:find_flush_effect"}
PAGE = "docs/numerics.md"
