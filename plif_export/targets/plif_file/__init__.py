"""--to plif."""
