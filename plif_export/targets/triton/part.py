"""--to triton."""

ABOUT = "The model repository of a Triton inference server, for many streams at once."
CONTRACT = "Target"
NEEDS = ("plif_export/targets/tensorrt",)
PAGE = "docs/triton.md"
