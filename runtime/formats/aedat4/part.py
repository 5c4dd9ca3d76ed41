ABOUT = "AEDAT 4 of iniVation's DV."
CONTRACT = "Format"
MAGIC = b"#!AER-DAT4.0"
REQUIRES = ("aedat",)
EXTRA = "aedat4"
NEEDS = ("runtime/formats/child",)
PAGE = "docs/events.md"
