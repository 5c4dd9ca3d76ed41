"""The command `plif record`."""

CONTRACT = "Command"
ABOUT = "Records your own gestures: says which to make, and when; labels and splits them."
NAMES = ("record",)
GIVES = {"record": "runtime.commands.guided_recording.guide:record"}
NEEDS = ("runtime/formats/aedat31", "runtime/datasets/own_recordings")
PAGE = "docs/own-gestures.md"
