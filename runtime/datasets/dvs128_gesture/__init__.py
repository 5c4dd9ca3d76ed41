"""The data set DVS128 Gesture."""
