ABOUT = "The decisions of a stream on a terminal, notes, and what became of it."
CONTRACT = "Observer"
HEARS = ("stream",)
LAST = True  # after the recording: nobody may read what is printed, and the step was made
PAGE = "docs/live.md"
GIVES = {"print_summary": "summary:print_summary"}
