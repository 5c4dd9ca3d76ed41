"""The command `plif record`."""

CONTRACT = "Command"
ABOUT = "Records your own gestures: says which to make, and when; labels and splits them."
GIVES = {"record": "runtime.commands.record.guide:record"}
NEEDS = ("runtime/formats/aedat31",)
PAGE = "docs/own-gestures.md"
