ABOUT = "Recordings of one's own, a folder for each class."
CONTRACT = "DataSet"
NAMES = ("folder",)
PAGE = "docs/events.md"
