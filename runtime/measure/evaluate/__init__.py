"""Batch evaluation: `evaluate` measures the accuracy of an artifact on a data set.

evaluation  the call;  run: cuts it into shards for workers (worker, processes, cluster), which take batches of samples
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.measure.evaluate.evaluation import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'runtime.measure.evaluate' has no attribute '{name}'")
    return getattr(import_module("runtime.measure.evaluate.evaluation"), name)
