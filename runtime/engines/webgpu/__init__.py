"""ONNX Runtime's WebGPU provider, and the search for its missing requirements."""

from __future__ import annotations

from runtime.core.engines.available import MissingRequirement, check_module
from runtime.engines.webgpu import vulkan


def find_missing(name: str) -> MissingRequirement | None:
    """Find the missing requirement of the WebGPU engine on this machine, or None."""
    missing = check_module("onnxruntime", "cpu", "ONNX Runtime") or check_module("onnxruntime_ep_webgpu", "webgpu")
    if missing is None and (no_adapter := vulkan.explain_no_adapter()) is not None:
        return MissingRequirement(*no_adapter)
    return missing
