"""--to c."""

ABOUT = "NAME.c and NAME.h, for firmware and for programs without Python."
CONTRACT = "Target"
PAGE = "docs/c.md"
NEEDS = ("runtime/formats/child",)
