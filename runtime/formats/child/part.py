ABOUT = (
    "Files that a process of its own reads, within limits and without rights, for what a damaged one does to a library."
)
CONTRACT = "Format"
NAMES = ()
GIVES = {"confinement": "children:confinement"}
PAGE = "docs/limits.md"
