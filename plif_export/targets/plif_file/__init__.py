"""The target --to plif."""
