"""The statements of a card about its making: an export collects them, and `plif verify` compares them."""
