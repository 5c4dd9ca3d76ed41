ABOUT = "A simulated camera as a source of events, sim:NAME?key=value."
CONTRACT = "Source"
NEEDS = ("runtime/datasets/digits", "runtime/datasets/motion")
SCHEME = "sim"
PAGE = "docs/live.md"
