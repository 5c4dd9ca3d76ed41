"""The part of --to c --set layout=arduino."""

ABOUT = "The same two files in a library that the Arduino IDE takes, with a self-test."
CONTRACT = "Target"
NAMES = ()
LAYOUT = "c"
NEEDS = ("plif_export/targets/c",)
PAGE = "docs/c.md"
