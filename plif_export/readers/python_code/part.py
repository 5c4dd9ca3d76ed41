ABOUT = "A network that Python code makes, as my_module.py:NAME names it."
CONTRACT = "Reader"
NAMES = ()
GIVES = {"run_code": "run_code", "other_weights": "other_weights"}
PAGE = "docs/reading-modules.md"
