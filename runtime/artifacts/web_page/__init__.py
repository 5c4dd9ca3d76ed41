"""Web pages with a network in them."""
