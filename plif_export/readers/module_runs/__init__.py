"""Side-by-side runs of a module, its copies and its step program, to compare them.

sides.py runs both sides, comparison.py compares them, paired.py does so step by step, original.py compares the module
with its copies, alone.py runs it without a recorder, check.py calls them all.
"""
