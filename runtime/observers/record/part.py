ABOUT = "A live moment on disk, and its replay with the same decisions, bit for bit."
CONTRACT = "Observer"
HEARS = ("stream",)
HOLDS = "recording.json"
OPTIONS = "RecordOptions"
NEEDS = ("runtime/formats/aedat31",)
PAGE = "docs/recording.md"
