"""The data set folder:DIR, the user's recordings."""
