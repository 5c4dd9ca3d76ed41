ABOUT = "Records a live stream, and replays it with the same decisions, bit for bit."
CONTRACT = "Observer"
HEARS = ("stream",)
HOLDS = "recording.json"
OPTIONS = "RecordOptions"
NEEDS = ("runtime/formats/aedat31",)
PAGE = "docs/recording.md"
