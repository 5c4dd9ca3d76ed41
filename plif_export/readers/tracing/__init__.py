"""A module, written down while it runs."""
