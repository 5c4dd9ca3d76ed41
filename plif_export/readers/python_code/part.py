ABOUT = "A network in Python code, named as my_module.py:NAME."
CONTRACT = "Reader"
NAMES = ()
GIVES = {
    "run_code": "run_code",
    "continue_in_child": "apart:continue_in_child",
    "have_different_weights": "have_different_weights",
}
PAGE = "docs/reading-modules.md"
