ABOUT = "The program of one step of a live module, with its states and layers of neurons."
CONTRACT = "Reader"
NAMES = ()
NEEDS = ("plif_export/readers/tracing", "runtime/neurons/traced_program")
PAGE = "docs/reading-modules.md"
