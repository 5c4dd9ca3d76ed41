ABOUT = "Random weights with which no layer is silent and none saturated."
CONTRACT = "Observer"
GIVES = {"scale_to_fire": "firing:scale_to_fire"}
PAGE = "docs/python.md"
