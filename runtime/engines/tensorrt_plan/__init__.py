"""TensorRT engines: plans, the Python module that opens them, CUDA memory, and a session on all three."""

from __future__ import annotations

import ctypes

from runtime.core.engines.available import MissingRequirement, check_module, join_missing

DRIVER = "libcuda.so.1"
NVIDIA_INDEX = "--extra-index-url=https://pypi.nvidia.com"  # PyPI has TensorRT's stubs alone, which fetch it from there
# name of an engine -> the module that it needs, and how that is called
MODULES = {"tensorrt": ("tensorrt", "TensorRT"), "tensorrt-rtx": ("tensorrt_rtx_bindings", "TensorRT-RTX")}
INDICES = {"tensorrt": NVIDIA_INDEX}  # of those that PyPI has not


def find_missing(name: str) -> MissingRequirement | None:
    """Find the missing requirement of a TensorRT engine on this machine, or None."""
    module, called = MODULES[name]
    return join_missing(check_driver(), check_module(module, name, called, INDICES.get(name, "")))


def check_driver() -> MissingRequirement | None:
    return None if can_load(DRIVER) else MissingRequirement(f"no NVIDIA driver ({DRIVER})", "install NVIDIA's driver")


def can_load(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
