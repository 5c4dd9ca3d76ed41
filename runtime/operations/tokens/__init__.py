"""Attention over tokens."""

# Each registers its operations.
from runtime.operations.tokens import matmul, reduce  # noqa: F401
