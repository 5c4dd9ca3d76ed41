"""Limit on biases, so that they cost no spikes in silence."""
