ABOUT = "Detects that an engine became slower than when it was chosen."
CONTRACT = "Observer"
HEARS = ("run",)
PAGE = "docs/engines.md"
