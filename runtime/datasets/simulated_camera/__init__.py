"""A simulated camera, and what the makers of simulated sets share."""
