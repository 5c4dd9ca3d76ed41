"""Thirty right forms of spiking networks, which plif should export as they are written."""
