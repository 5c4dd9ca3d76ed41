ABOUT = "The loop form: a Scan around the step, and what the gate asks of its calls."
CONTRACT = "Form"
NAMES = {"loop": "any number of steps a call"}
GIVES = {"loop": "calls:compare_calls"}
NEEDS = ("runtime/forms/looped",)
PAGE = "docs/export.md"
