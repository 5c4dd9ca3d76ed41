"""The part of --to plif."""

ABOUT = "One flat file with the program of the event engine, for libplif."
CONTRACT = "Target"
NEEDS = ("runtime/artifacts/plif_file", "runtime/engines/event")
PAGE = "docs/edge.md"
NAMES = ("plif",)
