ABOUT = "Describes a recording, and compares it with a network."
CONTRACT = "Observer"
HEARS = ("info",)
OPTIONS = "ComparisonOptions"
PAGE = "docs/events.md"
