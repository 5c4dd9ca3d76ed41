ABOUT = "Early exit: a sample ends when the lead of its answer is large enough."
CONTRACT = "Observer"
HEARS = ("exits",)
OPTIONS = "ExitOptions"
PAGE = "docs/evaluation.md"
