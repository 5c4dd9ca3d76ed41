"""State_dicts with the notation of their network."""
