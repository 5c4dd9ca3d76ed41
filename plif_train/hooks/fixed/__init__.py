"""Layers that stay as they are while others learn."""
