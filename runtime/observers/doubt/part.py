ABOUT = "Whether an engine that was chosen by its time is still as fast as it was then."
CONTRACT = "Observer"
HEARS = ("run",)
PAGE = "docs/engines.md"
