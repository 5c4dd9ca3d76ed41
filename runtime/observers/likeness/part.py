ABOUT = "Checks whether recordings match the training data of a network."
CONTRACT = "Observer"
HEARS = ("recordings",)
PAGE = "docs/events.md"
