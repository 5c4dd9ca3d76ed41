"""Several processes that train one network (ranks.py)."""
