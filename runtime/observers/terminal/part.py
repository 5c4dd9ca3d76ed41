ABOUT = "Prints the decisions of a stream, its notes and its summary in the terminal."
CONTRACT = "Observer"
HEARS = ("stream",)
LAST = True  # after the recording: nobody may read what is printed, and the step was made
PAGE = "docs/live.md"
GIVES = {"print_summary": "summary:print_summary"}
