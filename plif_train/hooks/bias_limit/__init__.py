"""Biases that cost no spikes in silence."""
