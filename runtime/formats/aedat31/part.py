ABOUT = "AEDAT 3.1, as cAER writes it and `plif stream --record`."
CONTRACT = "Format"
MAGIC = b"#!AER-DAT3.1"
PAGE = "docs/events.md"
