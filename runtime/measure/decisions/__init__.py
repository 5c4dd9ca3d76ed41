"""How soon a network says what is right, and how often it says what is not, by a rule of deciding (--decide)."""
