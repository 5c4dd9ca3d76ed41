ABOUT = "Recordings of the user, a folder for each class."
CONTRACT = "DataSet"
NAMES = ("folder",)
PAGE = "docs/events.md"
