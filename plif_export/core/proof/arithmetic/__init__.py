"""Arithmetic on values and on rounding-error bounds: the golden model (interpret) and its rounding bounds (bounds)."""
