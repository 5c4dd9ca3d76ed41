ABOUT = "Makes a simulated DVS128 Gesture of simulated people."
CONTRACT = "DataSet"
NAMES = ("gesture-sim",)
OPTIONS = "options:GestureOptions"
NEEDS = ("runtime/datasets/motion",)
PAGE = "docs/gesture.md"
