"""Shared code of the makers of simulated sets: the note in the folder, and the worker processes.

The note tells how the set was made. A folder with another note is refused.
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
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.parts import load_from_parts

NOTE = "simulated.json"
Job = TypeVar("Job")
Progress = Callable[[int, int], None]  # (files that are there, files in all)


def claim_folder(out: Path, note: dict[str, object]) -> None:
    """Claim the folder `out` for a simulated data set by writing the JSON note of how it is made.

    Raises PlifError when it holds other files, or a set made in another way.
    """
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
    with atomic_write(path) as (target,):
        target.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")


def run_jobs(
    work: Callable[[Job], int],
    jobs: Sequence[Job],
    workers: int,
    file_count: int,
    total: int,
    progress: Progress | None,
) -> None:
    """Run `work` for every job of a data set's simulation, in `workers` processes if a plug-in part can start them.

    `work` returns the number of files that it made; `file_count` files exist already.
    """
    report = progress or (lambda file_count, total: None)
    report(file_count, total)
    start = load_from_parts("observers", "start_worker") if workers > 1 and len(jobs) > 1 else None
    for written in _run_in_processes(start, work, jobs, workers) if start else map(work, jobs):
        file_count += written
        report(file_count, total)


def _run_in_processes(
    start: Callable[..., tuple[BaseProcess, Connection]], work: Callable[[Job], int], jobs: Sequence[Job], workers: int
) -> Iterator[int]:
    """Run `work` for the simulation's jobs in worker processes; yield the results as they arrive.

    The processes end with the generator, and with this process.
    """
    waiting, unfinished = iter(jobs), len(jobs)
    team: dict[Connection, BaseProcess] = {}
    try:
        for job in islice(waiting, workers):
            process, pipe = start(_serve_jobs, work)
            team[pipe] = process
            pipe.send(job)
        while unfinished:
            for ready in wait([*team]):
                assert isinstance(ready, Connection)
                try:
                    reply = ready.recv()
                except EOFError:
                    raise PlifError(
                        "a process that simulates died; is there enough memory? Try fewer --workers"
                    ) from None
                if isinstance(reply, Exception):
                    raise reply
                unfinished -= 1
                for job in islice(waiting, 1):
                    ready.send(job)
                yield reply
    finally:
        for process in team.values():
            process.terminate()
        for process in team.values():
            process.join()


def _serve_jobs(pipe: Connection, work: Callable[[Job], int]) -> None:
    """Run a worker process of a simulation: receive jobs from the pipe, and send back results or exceptions."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # unfinished files are removed, too
    with suppress(EOFError, OSError):  # the parent is gone
        while True:
            job = pipe.recv()
            try:
                reply: int | Exception = work(job)
            except Exception as error:
                reply = error
            pipe.send(reply)
