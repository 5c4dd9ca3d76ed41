"""Whether a network notices that subnormal numbers are made zero."""
