"""--engine openvino."""

ABOUT = "OpenVINO on the CPU, for a folder of --to openvino."
CONTRACT = "Engine"
NAMES = {"openvino": "OpenVINO on the CPU, for --to openvino"}
REQUIRES = ("openvino",)
EXTRA = "openvino"
PACKAGES = ("openvino",)
NEEDS = ("runtime/artifacts/openvino_ir",)
PAGE = "docs/openvino.md"
