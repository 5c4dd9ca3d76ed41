"""The part of --to web."""

ABOUT = "A page that a browser opens from the disk, with the network and libplif in it."
CONTRACT = "Target"
NAMES = ("web",)
NEEDS = (
    "plif_export/targets/plif_file",
    "runtime/artifacts/web_page",
    "runtime/datasets/digits",
    "runtime/observers/browser_page",
)
PAGE = "docs/web.md"
