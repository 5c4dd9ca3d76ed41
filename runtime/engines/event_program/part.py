"""The part that compiles a network for the event engine."""

ABOUT = "The graph of a card as a list of operations for the event engine's kernels."
CONTRACT = "Engine"
NAMES = ()
PAGE = "docs/event-engine-inside.md"
