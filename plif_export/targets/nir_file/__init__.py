"""The target --to nir."""
