"""Modules that turn, a file for each place where they keep it, and those that do not turn (right*.py)."""
