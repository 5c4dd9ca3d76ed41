"""Neurons before the readout that remember."""
