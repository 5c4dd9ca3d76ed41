"""Web pages with a network in them are recognised, and their card is read."""

ABOUT = "A web page with a .plif file in it, and libplif to run it."
CONTRACT = "Target"
NAMES = ("web",)
SUFFIX = ".html"
MAGIC = b"<!doctyp"
NEEDS = ("runtime/artifacts/plif_file",)
PAGE = "docs/web.md"
