"""Tables of third-party neurons and layers, with the equation or graph layer that each one corresponds to."""
