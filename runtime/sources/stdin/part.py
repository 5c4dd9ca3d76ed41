ABOUT = "CSV on standard input, -."
CONTRACT = "Source"
SCHEME = "-"
NEEDS = ("runtime/formats/csv_text",)
PAGE = "docs/live.md"
