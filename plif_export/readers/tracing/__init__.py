"""A recorder of the operations that a PyTorch module runs in its forward."""
