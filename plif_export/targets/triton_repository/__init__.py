"""The target --to triton."""
