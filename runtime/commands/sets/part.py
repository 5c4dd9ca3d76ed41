"""The command `plif data`."""

CONTRACT = "Command"
NAMES = ("data",)
ABOUT = (
    "Lists the data sets, says where one comes from, checks it, or makes a simulated one (continues where it stopped)."
)
PAGE = "docs/training.md"
