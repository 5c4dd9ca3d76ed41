ABOUT = "An evaluation by threads and processes, in pieces that survive, with a batch that was measured."
CONTRACT = "Observer"
HEARS = ("workers",)
OPTIONS = "options:WorkerOptions"
GIVES = {"start_worker": "start:start_worker"}
PAGE = "docs/evaluation.md"
