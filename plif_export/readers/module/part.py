ABOUT = "Live PyTorch modules, read by running them."
CONTRACT = "Reader"
NEEDS = ("plif_export/readers/module_runs",)
PAGE = "docs/reading-modules.md"
