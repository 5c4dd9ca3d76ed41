ABOUT = "NIR files, of other libraries and our own."
CONTRACT = "Reader"
MAGIC = b"\x89HDF\r\n\x1a\n"
REQUIRES = ("nir",)
EXTRA = "nir"
NEEDS = ("plif_export/readers/libraries",)
PAGE = "docs/nir.md"
