ABOUT = "An evaluation for a paper: tables, figures as PDF, the proof in a sentence and BibTeX."
CONTRACT = "Observer"
HEARS = ("eval",)
LAST = True  # it needs what the report is made of
OPTIONS = "LatexOptions"
NEEDS = ("runtime/observers/evaluation_report",)
PAGE = "docs/report.md"
