"""DVS128 Gesture."""
