""".plif files: their layout, what is in one, and what one says beside its card."""
