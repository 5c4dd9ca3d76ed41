"""NIR files as artifacts."""
