ABOUT = "Events as text, one a line."
CONTRACT = "Format"
NAMES = ("csv",)
LAST = True
OPTIONS = "layout:CsvOptions"
NEEDS = ("runtime/formats/columns",)
PAGE = "docs/events.md"
