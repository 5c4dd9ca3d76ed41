ABOUT = "When a sample may end early, and by which rule feeds are decided, found on a data set and written into a card."
CONTRACT = "Observer"
HEARS = ("instead of eval",)
OPTIONS = "CalibrationOptions"
PAGE = "docs/evaluation.md"
NEEDS = ("runtime/observers/evaluation_report",)
