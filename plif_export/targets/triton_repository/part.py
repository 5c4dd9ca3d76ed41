"""The part of --to triton."""

ABOUT = "The model repository of a Triton inference server, for many streams at once."
CONTRACT = "Target"
NAMES = ("triton",)
NEEDS = ("plif_export/targets/tensorrt_plan", "runtime/artifacts/triton_repository")
PAGE = "docs/triton.md"
