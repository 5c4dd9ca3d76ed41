ABOUT = "Windows of recordings, varied anew each time, of one set or of several."
CONTRACT = "Observer"
HEARS = ("data",)
OPTIONS = "keys:MixtureKeys"
PAGE = "docs/training.md"
