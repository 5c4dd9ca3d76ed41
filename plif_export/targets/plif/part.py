"""--to plif."""

ABOUT = "One flat file with the program of the event engine, for libplif."
CONTRACT = "Target"
PAGE = "docs/edge.md"
