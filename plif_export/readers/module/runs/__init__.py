"""A module and what was read of it, run side by side: where a module makes a value (places.py), and both runs (sides.py)."""
