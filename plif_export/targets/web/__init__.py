"""--to web."""
