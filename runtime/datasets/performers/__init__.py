"""Simulated people before a simulated camera."""
