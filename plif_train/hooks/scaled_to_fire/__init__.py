"""Random weights that make every layer fire, neither silent nor saturated."""
