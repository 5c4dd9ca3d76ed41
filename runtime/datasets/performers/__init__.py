"""Simulated people in front of a simulated camera."""
