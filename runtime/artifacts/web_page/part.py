"""The part that recognises web pages with a network and reads their card."""

ABOUT = "A web page with a .plif file in it, and libplif to run it."
CONTRACT = "Target"
NAMES = ("web",)
SUFFIX = ".html"
MAGIC = b"<!doctyp"
NEEDS = ("runtime/artifacts/plif_file",)
PAGE = "docs/web.md"
