"""ONNX Runtime's WebGPU provider, and what it lacks here."""

from __future__ import annotations

from runtime.core.engines.available import Lack, missing_module
from runtime.engines.webgpu import vulkan


def lack(name: str) -> Lack | None:
    """What it lacks here."""
    missing = missing_module("onnxruntime", "cpu", "ONNX Runtime") or missing_module("onnxruntime_ep_webgpu", "webgpu")
    if missing is None and (no_adapter := vulkan.no_adapter()) is not None:
        return Lack(*no_adapter)
    return missing
