"""What the makers of simulated sets share: the note in the folder, the check of their arguments, and the processes that work.

The note says how the set was made. A folder that was made in another way is refused rather than mixed with.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

from runtime.base.errors import PlifError
from runtime.base.files import make_folder, whole_or_nothing

NOTE = "simulated.json"
Job = TypeVar("Job")
Progress = Callable[[int, int], None]  # (files that are there, files in all)


def claim_folder(out: Path, note: dict[str, object]) -> None:
    """Writes the note into the folder `out`. PlifError when it holds something else, or a set made in another way."""
    path = out / NOTE
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            same = all(before.get(key) == json.loads(json.dumps(note[key])) for key in ("seed", "parameters"))
        except (ValueError, AttributeError):
            raise PlifError(f"{path}: not the note of a simulated set: choose another folder") from None
        if not same:
            raise PlifError(f"{path}: made with another seed or other parameters: choose another folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PlifError(f"{out}: exists and has no {NOTE} in it: choose a new or an empty folder")
    make_folder(out)
    with whole_or_nothing(path) as (target,):
        target.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def run_jobs(
    work: Callable[[Job], int], jobs: Sequence[Job], workers: int, done: int, total: int, progress: Progress | None
) -> None:
    """Calls `work` for every job, in `workers` processes. `work` returns how many files it made; `done` are there already."""
    report = progress or (lambda done, total: None)
    report(done, total)
    with ExitStack() as stack:
        run: Callable[..., Iterable[int]] = map
        if workers > 1 and len(jobs) > 1:
            # "spawn": a forked child would inherit the threads of the parent's BLAS in an unknown state
            run = stack.enter_context(ProcessPoolExecutor(workers, mp_context=get_context("spawn"))).map
        for made in run(work, jobs):
            done += made
            report(done, total)
