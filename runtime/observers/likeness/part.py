ABOUT = "Whether recordings are like those that a network was trained on."
CONTRACT = "Observer"
HEARS = ("recordings",)
PAGE = "docs/events.md"
