ABOUT = "The unrolled form: T steps in one call, for offline evaluation."
CONTRACT = "Form"
NAMES = {"unrolled": "T steps a call"}
PAGE = "docs/export.md"
