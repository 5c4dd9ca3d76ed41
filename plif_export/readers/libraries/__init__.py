"""Neurons and layers of other libraries: which equation and which layer of ours each is."""
