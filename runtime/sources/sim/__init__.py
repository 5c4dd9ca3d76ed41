"""A simulated camera as a source of events."""
