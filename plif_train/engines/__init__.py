"""Engines of the runtime that need PyTorch."""
