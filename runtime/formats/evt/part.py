ABOUT = "EVT 2.0, 2.1 and 3.0, the raw formats of Prophesee."
CONTRACT = "Format"
NAMES = ("evt2", "evt21", "evt3")
LAST = True
PAGE = "docs/events.md"
