ABOUT = "The decisions of a stream on a terminal, and notes."
CONTRACT = "Observer"
HEARS = ("stream",)
LAST = True  # after the recording: nobody may read what is printed, and the step was made
PAGE = "docs/live.md"
