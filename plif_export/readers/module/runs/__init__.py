"""Side-by-side runs of a module and its step program, to compare them.

places.py finds the calls that make a value, sides.py runs both sides, original.py compares the module with its copy.
"""
