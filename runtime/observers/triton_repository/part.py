ABOUT = "A session whose steps a Triton server makes, and how many live streams it holds: plif bench --triton."
CONTRACT = "Observer"
HEARS = ("instead of bench",)
OPTIONS = "options:ServedOptions"
PAGE = "docs/triton.md"
