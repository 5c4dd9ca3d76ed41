"""Weights that are rounded while they are learned."""
