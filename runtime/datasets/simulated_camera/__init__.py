"""A simulated camera, and the shared code of the makers of simulated sets."""
