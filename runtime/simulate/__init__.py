"""A simulated event camera and what it looks at. NumPy only: training imports it from here."""
