"""The check whether a network changes its results if subnormal numbers are flushed to zero."""
