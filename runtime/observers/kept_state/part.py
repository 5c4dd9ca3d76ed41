ABOUT = "A stream that goes on in another process where it stopped."
CONTRACT = "Observer"
HEARS = ("run",)
OPTIONS = "StateOptions"
PAGE = "docs/live-rules.md"
