"""Model repositories of a Triton server as artifacts."""
