"""Generated C: what is in a file, and where its card is."""
