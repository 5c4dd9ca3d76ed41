"""Model repositories of a Triton server."""
