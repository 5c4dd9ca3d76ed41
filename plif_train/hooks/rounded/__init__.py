"""Quantisation-aware training: weights are rounded while they are learned."""
