ABOUT = "A session on a Triton server, and the number of live streams that it holds: plif bench --triton."
CONTRACT = "Observer"
HEARS = ("instead of bench",)
OPTIONS = "options:TritonOptions"
PAGE = "docs/triton.md"
