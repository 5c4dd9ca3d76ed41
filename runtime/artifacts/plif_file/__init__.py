"""Files with the suffix .plif: their layout, their contents, and their facts in addition to the card."""
