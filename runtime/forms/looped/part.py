ABOUT = "The loop form of an ONNX file, a Scan around its step, and its calls of any number of steps."
CONTRACT = "Form"
NAMES = ("loop",)
GIVES = {"Scan": "onnx_loop:step_of", "loop": "sequences:InLoops"}
PAGE = "docs/export.md"
