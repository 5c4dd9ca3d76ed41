ABOUT = "DAT of Prophesee."
CONTRACT = "Format"
MAGIC = b"% "
LAST = True
PAGE = "docs/events.md"
