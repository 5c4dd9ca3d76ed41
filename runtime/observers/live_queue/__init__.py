"""Bounded queues for the frames of sources with their own clock (queue.py)."""
