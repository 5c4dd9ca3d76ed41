ABOUT = "Event Stream 2."
CONTRACT = "Format"
MAGIC = b"Event Stream"
PAGE = "docs/events.md"
