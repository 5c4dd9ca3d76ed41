"""A simulated DVS128 Gesture."""
