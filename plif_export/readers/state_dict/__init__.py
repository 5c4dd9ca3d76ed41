"""The reader of state_dicts with the notation of their network."""
