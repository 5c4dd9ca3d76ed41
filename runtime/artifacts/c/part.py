"""The part that recognises generated C and reads its card."""

ABOUT = "Generated C, and an Arduino library with it."
CONTRACT = "Target"
SUFFIX = ".c"
MAGIC = b"/* plif:"
HOLDS = "library.properties"
PAGE = "docs/c.md"
