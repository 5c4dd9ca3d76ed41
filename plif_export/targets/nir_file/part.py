"""The part of --to nir."""

ABOUT = "One NIR file, for other tools and chips."
CONTRACT = "Target"
NAMES = ("nir",)
REQUIRES = ("nir",)
EXTRA = "nir"
NEEDS = ("plif_export/readers/nir_file",)
PAGE = "docs/nir.md"
