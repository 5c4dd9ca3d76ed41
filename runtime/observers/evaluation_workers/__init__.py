"""An evaluation by threads (worker.py) and processes (processes.py), in pieces that survive (shards.py); run.py directs them.

Another part may do the shards elsewhere. It hears `elsewhere`, and its options stand beside `--workers`:
hear(keep, **its options) -> [Elsewhere] (run.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.observers.evaluation_workers.options import WorkerOptions

if TYPE_CHECKING:
    from runtime.core.measure.evaluate.loop import Loop, Outcome


def hear(loop: Loop, **options: Any) -> Iterator[Outcome]:
    """Does all of it."""
    from runtime.observers.evaluation_workers.run import run

    return run(loop, WorkerOptions(**options))


def begun_engine(keep: Path | None, **options: Any) -> str | None:
    """The engine with which it was begun, to go on with; None where there is none."""
    from runtime.observers.evaluation_workers.shards import read_plan

    plan = read_plan(keep) if keep is not None and WorkerOptions(**options).resume else None
    return None if plan is None else plan.engine
