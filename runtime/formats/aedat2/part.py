ABOUT = "AEDAT 2.0 of a DVS128, as jAER writes it."
CONTRACT = "Format"
MAGIC = b"#!AER-DAT2.0"
PAGE = "docs/events.md"
