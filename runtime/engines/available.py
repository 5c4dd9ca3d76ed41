"""Which engines can run on this machine, and why the others cannot: asked of what is installed, without opening an engine."""

from __future__ import annotations

import ctypes
import importlib.util
from collections.abc import Callable

from runtime.engines import ENGINES, engine_names


def engine_reasons() -> dict[str, str | None]:
    """Each engine by name -> None where it can run, else why it cannot and what to do, half a line."""
    return {name: why_not(name) for name in engine_names()}


def why_not(name: str) -> str | None:
    """Why that engine cannot run here; None: it can, as far as it can be told without a file."""
    if name not in ENGINES:  # of another package, by an entry point
        return _module("torch", "train") if name == "torch" else None
    return CHECKS[name]()


def _module(module: str, extra: str, name: str | None = None) -> str | None:
    found = importlib.util.find_spec(module) is not None
    return None if found else f"{name or module} is not installed: the extra [{extra}]"


def _event() -> str | None:
    from runtime import native

    return None if native.is_built() else "the event engine is not built here (no C compiler when plif was installed)"


def _gpu() -> str | None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver here (libcuda.so.1)"
    return None


def _onnxruntime_gpu() -> str | None:
    if (gpu := _gpu()) is not None:
        return gpu
    from importlib.metadata import PackageNotFoundError, version  # not at the top: it costs a tenth of NumPy

    try:
        version("onnxruntime-gpu")
    except PackageNotFoundError:
        return "onnxruntime-gpu is not installed: the extra [gpu], instead of [cpu]"
    return None


# name -> the check; an engine that is entered in ENGINES has its line here
CHECKS: dict[str, Callable[[], str | None]] = {
    "onnxruntime": lambda: _module("onnxruntime", "cpu", "ONNX Runtime"),
    "onnxruntime-cuda": _onnxruntime_gpu,
    "onnxruntime-tensorrt": _onnxruntime_gpu,
    "event": _event,
    "openvino": lambda: _module("openvino", "openvino"),
    "tensorrt": lambda: _gpu() or _module("tensorrt", "tensorrt"),
    "tensorrt-rtx": lambda: _gpu() or _module("tensorrt_rtx", "tensorrt-rtx"),
}
