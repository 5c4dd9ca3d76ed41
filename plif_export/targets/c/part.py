"""The part of --to c."""

ABOUT = "NAME.c and NAME.h, for firmware and for programs without Python."
CONTRACT = "Target"
NEEDS = ("plif_export/writers/c", "runtime/artifacts/c", "runtime/formats/child")
PAGE = "docs/c.md"
