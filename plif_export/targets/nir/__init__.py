"""--to nir."""
