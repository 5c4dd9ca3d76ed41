"""Steps of a network that a Triton server runs."""

ABOUT = "A session whose steps a Triton server makes."
CONTRACT = "Engine"
NAMES = ()
PAGE = "docs/triton.md"
