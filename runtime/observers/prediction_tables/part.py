ABOUT = "Predictions as tables, CSV and JSON lines."
CONTRACT = "Observer"
HEARS = ("predictions",)
PAGE = "docs/evaluation.md"
