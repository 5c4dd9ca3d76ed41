"""The part that writes a network as C, for --to c."""

ABOUT = "A graph as one .c and one .h, without a library, a heap or a thread."
CONTRACT = "Target"
NAMES = ()
PAGE = "docs/c.md"
