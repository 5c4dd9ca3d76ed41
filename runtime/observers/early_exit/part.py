ABOUT = "A sample ends when its answer leads by so much that further steps are not worth their time."
CONTRACT = "Observer"
HEARS = ("exits",)
OPTIONS = "ExitOptions"
PAGE = "docs/evaluation.md"
