"""Web pages with a network in them, as artifacts."""
