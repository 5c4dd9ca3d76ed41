ABOUT = "An evaluation by threads and processes, in resumable shards, with a measured batch size."
CONTRACT = "Observer"
HEARS = ("workers",)
OPTIONS = "options:WorkerOptions"
GIVES = {"start_worker": "start:start_worker"}
PAGE = "docs/evaluation.md"
