"""Files of weights -> SNN graph: our own networks (ours.py), and state_dicts of SpikingJelly."""
