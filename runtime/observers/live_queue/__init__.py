"""Frames of sources that have a clock of their own wait in a bounded queue (queue.py)."""
