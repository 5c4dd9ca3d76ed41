ABOUT = "Filters of events between a source and the frames, --filter: libplif's, and your own before them."
CONTRACT = "Observer"
HEARS = ("filters",)
PAGE = "docs/live-rules.md"
