"""The torch engine: a model.pt as an engine of the runtime."""
