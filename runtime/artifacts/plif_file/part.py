"""The part that recognises files for libplif and reads their contents."""

ABOUT = "A flat file with card, operations and weights, which libplif maps into memory and runs."
CONTRACT = "Target"
SUFFIX = ".plif"
MAGIC = b"PLIF\r\n\x1a\n"
PAGE = "docs/edge.md"
NAMES = ("plif",)
