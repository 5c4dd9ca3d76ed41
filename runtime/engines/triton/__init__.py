"""A Triton server, from Python."""
