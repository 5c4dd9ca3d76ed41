ABOUT = "Event filters between a source and the frames, --filter: those of libplif, and custom ones before them."
CONTRACT = "Observer"
HEARS = ("filters",)
PAGE = "docs/live-rules.md"
