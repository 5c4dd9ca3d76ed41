"""--to triton."""
