"""Batch evaluation: `evaluate` measures the accuracy of an artifact on a data set.

evaluation  the call;  run: cuts it into shards for workers (worker, processes, cluster), which take batches of samples
"""

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from runtime.measure.evaluate.evaluation import evaluate

        return evaluate
    raise AttributeError(f"module 'runtime.measure.evaluate' has no attribute '{name}'")
