"""Frozen layers: they do not change while other layers learn."""
