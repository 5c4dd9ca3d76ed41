ABOUT = "DAT of Prophesee."
CONTRACT = "Format"
LAST = True
PAGE = "docs/events.md"
