ABOUT = "Saves the state of a stream, so that another process can continue it."
CONTRACT = "Observer"
HEARS = ("run",)
OPTIONS = "StateOptions"
PAGE = "docs/live-rules.md"
