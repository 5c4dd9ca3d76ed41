"""Generated C is recognised, and its card is read."""

ABOUT = "Generated C, and an Arduino library with it."
CONTRACT = "Target"
SUFFIX = ".c"
MAGIC = b"/* plif:"
HOLDS = "library.properties"
PAGE = "docs/c.md"
