"""Arithmetic on values and on rounding measures: the golden model (interpret) and its rounding bounds (bounds)."""
