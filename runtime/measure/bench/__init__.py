"""Latency and throughput: of artifacts side by side (table: `bench`; artifacts), and of a Triton server (served)."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.measure.bench.artifacts import Measurement
    from runtime.measure.bench.table import bench

__all__ = ["Measurement", "bench"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'runtime.measure.bench' has no attribute '{name}'")
    return getattr(import_module("runtime.measure.bench.table"), name)
