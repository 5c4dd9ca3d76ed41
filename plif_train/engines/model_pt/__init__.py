"""A model.pt as an engine of the runtime."""
