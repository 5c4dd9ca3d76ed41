"""Workers in processes of this machine, each with its own engine: whole shards go out, only numbers come back.

Frames never cross from one process to another: of small recordings, reading costs more than the network does. A worker that
dies costs the shard that it was at, which another one does again.
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
from runtime.observers.evaluation_workers.worker import Job, Tell, Worker

PATIENCE_S = 5.0


@dataclass
class _Process:
    """One worker process, our end of its pipe, and the shard that it is at."""

    process: BaseProcess
    pipe: Connection
    shard: int | None = None


def run_in_processes(job: Job, shards: Iterable[int], workers: int, tell: Tell) -> Iterator[int]:
    """Does the shards in so many processes; yields each that is done. The processes end with the generator.

    Raises PlifError where a worker does, and where one shard has ended worker.MOST_DEATHS of them.
    """
    waiting = deque(shards)
    deaths: Counter[int] = Counter()
    team: list[_Process] = []
    try:
        for _ in range(min(workers, len(waiting))):
            team.append(_start(job))
        for one in team:
            _give(one, waiting)
        while any(one.shard is not None for one in team):
            for pipe in wait([one.pipe for one in team if one.shard is not None]):
                one = next(member for member in team if member.pipe is pipe)
                try:
                    message = one.pipe.recv()
                except (EOFError, OSError):
                    message = None
                if isinstance(message, Tally):
                    tell(message)
                elif isinstance(message, PlifError):
                    raise message
                elif message is not None:
                    yield message
                    _give(one, waiting)
                else:
                    _replace(one, job, waiting, deaths)
    finally:
        for one in team:
            one.pipe.close()
            one.process.terminate()
        for one in team:
            one.process.join(PATIENCE_S)


def _give(one: _Process, waiting: deque[int]) -> None:
    one.shard = waiting.popleft() if waiting else None
    if one.shard is not None:
        with suppress(OSError):  # it died: `wait` tells, and another one gets the shard
            one.pipe.send(one.shard)


def _replace(one: _Process, job: Job, waiting: deque[int], deaths: Counter[int]) -> None:
    """Starts another process in the place of one that died, with the same shard."""
    one.process.join(PATIENCE_S)
    one.pipe.close()
    assert one.shard is not None
    deaths[one.shard] += 1
    job.survive(one.shard, deaths[one.shard], f"exit code {one.process.exitcode}")
    waiting.appendleft(one.shard)
    new = _start(job)
    one.process, one.pipe = new.process, new.pipe
    _give(one, waiting)


def _start(job: Job) -> _Process:
    return _Process(*start_worker(_serve, job, os.getpid()))


def _serve(pipe: Connection, job: Job, parent: int) -> None:
    """The child: a shard's number comes, Tally of every batch goes back, and the number when it is done."""
    with suppress(EOFError, OSError):  # the parent is gone
        try:
            worker = Worker(job)
            while os.getppid() == parent:
                shard = pipe.recv()
                worker.run(shard, pipe.send)
                pipe.send(shard)
        except PlifError as error:
            pipe.send(error)
