"""TensorRT engines: plans, the Python module that opens them, CUDA memory, and a session on all three."""

from __future__ import annotations

import ctypes

from runtime.core.engines.available import Lack, all_of, missing_module

DRIVER = "libcuda.so.1"
NVIDIA_INDEX = "--extra-index-url=https://pypi.nvidia.com"  # PyPI has TensorRT's stubs alone, which fetch it from there
# name of an engine -> the module that it needs, and how that is called
MODULES = {"tensorrt": ("tensorrt", "TensorRT"), "tensorrt-rtx": ("tensorrt_rtx_bindings", "TensorRT-RTX")}
INDICES = {"tensorrt": NVIDIA_INDEX}  # of those that PyPI has not


def lack(name: str) -> Lack | None:
    """What an engine lacks here."""
    module, called = MODULES[name]
    return all_of(no_driver(), missing_module(module, name, called, INDICES.get(name, "")))


def no_driver() -> Lack | None:
    return None if loads(DRIVER) else Lack(f"no NVIDIA driver ({DRIVER})", "install NVIDIA's driver")


def loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
