ABOUT = "The report of an evaluation: a page, a model card, the figures' numbers, and all of it for LaTeX."
CONTRACT = "Observer"
HEARS = ("eval",)
LAST = True  # it draws what the others add
OPTIONS = "ReportOptions"
PAGE = "docs/report.md"
