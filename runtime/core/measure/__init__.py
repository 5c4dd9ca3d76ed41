"""Accuracy on a data set (evaluate) and time of a step (bench)."""
