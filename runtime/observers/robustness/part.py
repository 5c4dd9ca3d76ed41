ABOUT = "Accuracy on recordings with changed events: losses, noise, shifts and more."
CONTRACT = "Observer"
HEARS = ("eval",)
OPTIONS = "StressOptions"
PAGE = "docs/report.md"
