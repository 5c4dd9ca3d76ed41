ABOUT = "Describes this machine: plif info without a file."
CONTRACT = "Observer"
HEARS = ("info",)
PAGE = "docs/install.md"
