"""Random weights with which every layer fires (firing.py)."""
