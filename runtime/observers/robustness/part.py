ABOUT = "Accuracy on recordings whose events were changed before they became frames."
CONTRACT = "Observer"
HEARS = ("eval",)
OPTIONS = "StressOptions"
PAGE = "docs/report.md"
