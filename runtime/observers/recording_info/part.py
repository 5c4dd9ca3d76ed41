ABOUT = "What a recording is, and whether it fits a network."
CONTRACT = "Observer"
HEARS = ("info",)
OPTIONS = "ComparedOptions"
PAGE = "docs/events.md"
