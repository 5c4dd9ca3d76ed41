"""`plif train --from model.pt` (start_from.py)."""
