"""Generated C as an artifact: its files and its card."""
