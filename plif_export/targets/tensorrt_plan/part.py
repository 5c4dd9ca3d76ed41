"""The part of --to tensorrt and --to tensorrt-rtx."""

ABOUT = "An engine file, a plan with the card in front of it, for GPUs of NVIDIA."
CONTRACT = "Target"
NAMES = ("tensorrt", "tensorrt-rtx")
NEEDS = ("runtime/engines/tensorrt_plan",)
PAGE = "docs/tensorrt.md"
