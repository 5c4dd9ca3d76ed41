"""A simulated DVS128 Gesture data set."""
