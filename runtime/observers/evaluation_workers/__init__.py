"""An evaluation by threads (worker.py) and processes (processes.py), in shards (shards.py), directed by run.py.

Finished shards survive a crash. Another part may evaluate the shards on other machines. It hears `elsewhere`, and its
options stand next to `--workers`: hear(keep, **its options) -> [RemoteRunner] (run.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.observers.evaluation_workers.options import WorkerOptions

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.loop import EvaluationLoop, Outcome


def hear(loop: EvaluationLoop, **options: Any) -> Iterator[Outcome]:
    """Run an evaluation with worker threads, processes or machines; yield the outcome of each shard of samples."""
    from runtime.observers.evaluation_workers.run import run_shards

    return run_shards(loop, WorkerOptions(**options))


def find_resumed_engine(keep: Path | None, **options: Any) -> str | None:
    """Return the engine of the interrupted evaluation that --resume continues, or None if there is none."""
    from runtime.observers.evaluation_workers.shards import read_plan

    plan = read_plan(keep) if keep is not None and WorkerOptions(**options).resume else None
    return None if plan is None else plan.engine
