"""The part that chooses the engines of a proof."""

ABOUT = "The engines that a proof runs next to the file: those of --engine auto, or all of this machine."
CONTRACT = "Observer"
NAMES = ()
GIVES = {"engines of a proof": "engines:open_engines"}
PAGE = "docs/numerics.md"
