"""Slow neurons: a share of the neurons before the readout has a large tau."""
