"""--to web."""

ABOUT = "A page that a browser opens from the disk, with the network and libplif in it."
CONTRACT = "Target"
NEEDS = ("plif_export/targets/plif", "runtime/datasets/digits")
PAGE = "docs/web.md"
