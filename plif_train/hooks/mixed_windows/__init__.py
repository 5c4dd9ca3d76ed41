"""Training windows of recordings, cut and varied anew each time, of one set or of several (mixture.py)."""
