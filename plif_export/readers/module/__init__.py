"""The reader of live PyTorch modules: it runs a module, records it and turns it into a graph."""
