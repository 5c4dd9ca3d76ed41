"""Windows of recordings, varied anew each time, of one set or of several (mixture.py)."""
