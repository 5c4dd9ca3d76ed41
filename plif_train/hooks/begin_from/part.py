ABOUT = "A training that goes on from the weights of a network that was trained."
CONTRACT = "Observer"
HEARS = ("start",)
PAGE = "docs/training.md"
