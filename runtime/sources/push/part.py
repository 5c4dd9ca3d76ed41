ABOUT = "Events that a program pushes, plif.PushSource."
CONTRACT = "Source"
NAMES = ("PushSource",)
NEEDS = ("runtime/formats/columns",)
PAGE = "docs/live.md"
