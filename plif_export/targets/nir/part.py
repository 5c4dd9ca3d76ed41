"""--to nir."""

ABOUT = "One NIR file, for other tools and chips."
CONTRACT = "Target"
REQUIRES = ("nir",)
EXTRA = "nir"
PAGE = "docs/nir.md"
