ABOUT = "An evaluation by threads and processes, in pieces that survive, with a batch that was measured."
CONTRACT = "Observer"
HEARS = ("workers",)
OPTIONS = "options:WorkerOptions"
PAGE = "docs/evaluation.md"
