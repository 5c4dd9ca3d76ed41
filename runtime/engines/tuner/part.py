"""The part behind --engine auto and all other choices by time."""

ABOUT = "What is the fastest here: measured, chosen and kept."
CONTRACT = "Engine"
NAMES = ()
HEARS = ("choice",)
PAGE = "docs/engines.md"
