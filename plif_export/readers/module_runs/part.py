ABOUT = "Runs of a live module, of its copies and of its step program, which must give the same."
CONTRACT = "Reader"
NAMES = ()
NEEDS = ("plif_export/readers/step_program",)
PAGE = "docs/reading-modules.md"
