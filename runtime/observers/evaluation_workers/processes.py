"""Workers in processes of this machine, each with its own engine: shards are sent to them, only numbers come back.

Frames are never sent between processes: for small recordings, reading costs more than the network. If a worker dies,
another one evaluates its shard again.
"""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from runtime.core.base.errors import PlifError
from runtime.core.measure.evaluate.loop import Tally
from runtime.observers.evaluation_workers.start import start_worker
from runtime.observers.evaluation_workers.worker import Job, OnTally, Worker

PATIENCE_S = 5.0


@dataclass
class _Process:
    """One worker process of an evaluation: its process, our end of its pipe, and its current shard of samples."""

    process: BaseProcess
    pipe: Connection
    shard: int | None = None


def run_in_processes(job: Job, shards: Iterable[int], workers: int, on_tally: OnTally) -> Iterator[int]:
    """Evaluate shards (groups of samples) in worker processes, and yield the number of each finished shard.

    The processes end with the generator. Raises PlifError if a worker does, and if one shard has ended
    worker.MAX_DEATHS workers.
    """
    waiting = deque(shards)
    deaths: Counter[int] = Counter()
    team: list[_Process] = []
    try:
        for _ in range(min(workers, len(waiting))):
            team.append(_start_process(job))
        for worker in team:
            _assign_shard(worker, waiting)
        while any(worker.shard is not None for worker in team):
            for pipe in wait([worker.pipe for worker in team if worker.shard is not None]):
                worker = next(member for member in team if member.pipe is pipe)
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    message = None
                if isinstance(message, Tally):
                    on_tally(message)
                elif isinstance(message, PlifError):
                    raise message
                elif message is not None:
                    yield message
                    _assign_shard(worker, waiting)
                else:
                    _replace_worker(worker, job, waiting, deaths)
    finally:
        for worker in team:
            worker.pipe.close()
            worker.process.terminate()
        for worker in team:
            worker.process.join(PATIENCE_S)


def _assign_shard(worker: _Process, waiting: deque[int]) -> None:
    worker.shard = waiting.popleft() if waiting else None
    if worker.shard is not None:
        with suppress(OSError):  # it died: `wait` reports it, and another worker gets the shard
            worker.pipe.send(worker.shard)


def _replace_worker(worker: _Process, job: Job, waiting: deque[int], deaths: Counter[int]) -> None:
    """Start another worker process in the place of one that died, and give it the same shard of samples."""
    worker.process.join(PATIENCE_S)
    worker.pipe.close()
    assert worker.shard is not None
    deaths[worker.shard] += 1
    job.report_death(worker.shard, deaths[worker.shard], f"exit code {worker.process.exitcode}")
    waiting.appendleft(worker.shard)
    new = _start_process(job)
    worker.process, worker.pipe = new.process, new.pipe
    _assign_shard(worker, waiting)


def _start_process(job: Job) -> _Process:
    return _Process(*start_worker(_serve, job, os.getpid()))


def _serve(pipe: Connection, job: Job, parent: int) -> None:
    """Run the child process of a worker: receive shard numbers; send a tally after each batch, and finished shards."""
    with suppress(EOFError, OSError):  # the parent is gone
        try:
            worker = Worker(job)
            while os.getppid() == parent:
                shard = pipe.recv()
                worker.run(shard, pipe.send)
                pipe.send(shard)
        except PlifError as error:
            pipe.send(error)
