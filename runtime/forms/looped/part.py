ABOUT = "The loop form of an ONNX file, a Scan around its step, and its calls of any number of steps."
CONTRACT = "Form"
NAMES = ("loop",)
GIVES = {"Scan": "onnx_loop:to_step_form", "loop": "sequences:LoopBuffers"}
PAGE = "docs/export.md"
