ABOUT = "NIR files, third-party ones and those that plif wrote."
CONTRACT = "Reader"
NAMES = ("nir",)
MAGIC = b"\x89HDF\r\n\x1a\n"
REQUIRES = ("nir",)
EXTRA = "nir"
NEEDS = ("plif_export/readers/libraries", "runtime/artifacts/nir_file")
PAGE = "docs/nir.md"
