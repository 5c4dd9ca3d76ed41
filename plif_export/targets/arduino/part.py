"""--to c --set layout=arduino."""

ABOUT = "The same two files in a library that the Arduino IDE takes, with a self-test."
CONTRACT = "Target"
NAMES = ()
LAYOUT = "c"
PAGE = "docs/c.md"
