ABOUT = "Any live module of PyTorch, by running it."
CONTRACT = "Reader"
NEEDS = ("plif_export/readers/tracing",)
PAGE = "docs/reading-modules.md"
