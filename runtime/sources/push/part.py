ABOUT = "Events that a program has already, plif.PushSource."
CONTRACT = "Source"
NAMES = ("PushSource",)
NEEDS = ("runtime/formats/columns",)
PAGE = "docs/live.md"
