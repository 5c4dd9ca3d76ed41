"""Changed artifacts, a file for each kind of change."""
