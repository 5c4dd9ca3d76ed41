"""Drawn digits before a simulated camera."""
