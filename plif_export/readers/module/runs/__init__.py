"""A module and what was read of it, run side by side: where a module makes a value (places.py), both runs (sides.py), and the
module itself beside its copy (original.py)."""
