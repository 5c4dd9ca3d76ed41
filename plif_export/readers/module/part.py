ABOUT = "Live PyTorch modules, read by running them."
CONTRACT = "Reader"
NEEDS = ("plif_export/readers/tracing", "runtime/neurons/traced_program")
PAGE = "docs/reading-modules.md"
