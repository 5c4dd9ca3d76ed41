ABOUT = "What this machine has: plif info without a file."
CONTRACT = "Observer"
HEARS = ("info",)
PAGE = "docs/install.md"
