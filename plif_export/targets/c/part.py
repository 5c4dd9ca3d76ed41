"""--to c."""

ABOUT = "NAME.c and NAME.h, for firmware and for programs without Python."
CONTRACT = "Target"
NEEDS = ("plif_export/writers/c",)
PAGE = "docs/c.md"
