"""--engine auto, and what else is chosen by its time."""

ABOUT = "What is the fastest here: measured, chosen and kept."
CONTRACT = "Engine"
NAMES = ()
HEARS = ("choice",)
PAGE = "docs/engines.md"
