"""Training that starts from the weights of a model.pt: `plif train --from model.pt` (start_from.py)."""
