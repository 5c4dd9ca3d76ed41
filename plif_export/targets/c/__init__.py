"""The target --to c."""
