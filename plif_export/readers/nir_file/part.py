ABOUT = "NIR files, of other libraries and our own."
CONTRACT = "Reader"
NAMES = ("nir",)
MAGIC = b"\x89HDF\r\n\x1a\n"
REQUIRES = ("nir",)
EXTRA = "nir"
NEEDS = ("plif_export/readers/libraries", "runtime/artifacts/nir_file")
PAGE = "docs/nir.md"
