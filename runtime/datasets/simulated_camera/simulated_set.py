"""What the makers of simulated sets share: the note in the folder, the check of their arguments, and the processes that work.

The note says how the set was made. A folder that was made in another way is refused rather than mixed with.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

from runtime.core.base.errors import PlifError
from runtime.core.base.files import make_folder, whole_or_nothing
from runtime.core.parts import given_by_parts

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
    """Calls `work` for every job, in `workers` processes where a part starts such. `work` returns how many files it made; `done`
    are there already."""
    report = progress or (lambda done, total: None)
    report(done, total)
    start = given_by_parts("observers", "start_worker") if workers > 1 and len(jobs) > 1 else None
    for made in _in_processes(start, work, jobs, workers) if start else map(work, jobs):
        done += made
        report(done, total)


def _in_processes(
    start: Callable[..., tuple[BaseProcess, Connection]], work: Callable[[Job], int], jobs: Sequence[Job], workers: int
) -> Iterator[int]:
    """What `work` returns for each job, as they are done. The processes end with the generator, and with us."""
    waiting, left = iter(jobs), len(jobs)
    team: dict[Connection, BaseProcess] = {}
    try:
        for job in islice(waiting, workers):
            process, pipe = start(_serve, work)
            team[pipe] = process
            pipe.send(job)
        while left:
            for ready in wait([*team]):
                assert isinstance(ready, Connection)
                try:
                    made = ready.recv()
                except EOFError:
                    raise PlifError(
                        "a process that simulates died; is there enough memory? Try fewer --workers"
                    ) from None
                if isinstance(made, Exception):
                    raise made
                left -= 1
                for job in islice(waiting, 1):
                    ready.send(job)
                yield made
    finally:
        for process in team.values():
            process.terminate()
        for process in team.values():
            process.join()


def _serve(pipe: Connection, work: Callable[[Job], int]) -> None:
    """The child: a job comes, and what was made, or went wrong, goes back."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # what is half-written goes, too
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            job = pipe.recv()
            try:
                made: int | Exception = work(job)
            except Exception as error:
                made = error
            pipe.send(made)
