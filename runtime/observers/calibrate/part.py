ABOUT = (
    "Calibrates the early exit and the decision rule on a data set, and writes them into the card of a new artifact."
)
CONTRACT = "Observer"
HEARS = ("instead of eval",)
OPTIONS = "CalibrationOptions"
PAGE = "docs/evaluation.md"
NEEDS = ("runtime/observers/evaluation_report",)
