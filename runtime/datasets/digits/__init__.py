"""Drawn digits in front of a simulated camera."""
