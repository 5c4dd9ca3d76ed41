"""A worker: one engine that stays open, and threads that read the next batches while the engine runs.

The same worker does the shards in the program itself, in processes beside it (processes.py) and on other machines (a part).
In the program itself it may have several lanes: threads that each read a batch and run it, in a session of their own. Native code
does both without the interpreter's lock, so lanes use several cores, and cost no start of a process.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import TypeVar

from runtime.core.api import Model, load
from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.data import Dataset
from runtime.core.engines.session import Session
from runtime.core.engines.unrolled import open_session
from runtime.core.measure.evaluate.batches import Exits
from runtime.core.measure.evaluate.loop import Outcome, Tally, answer, count
from runtime.core.measure.evaluate.samples import Reading, SampleSource, read_samples
from runtime.observers.evaluation_workers.shards import ShardPlan, Shards

Answer = TypeVar("Answer")


Tell = Callable[[Tally], None]  # hears of each batch
MOST_DEATHS = 3  # of workers at one shard


@dataclass(frozen=True)
class Job:
    """All that a worker must know; it goes to other processes and machines.

    folder   where the shards are written
    options  with which each worker opens the artifact
    exits    who ends samples early
    lanes    batches that a worker runs at once
    """

    artifact: Path
    samples: SampleSource
    plan: ShardPlan
    folder: Path
    options: EngineOptions
    exits: Exits | None = None
    lanes: int = 1

    def survive(self, shard: int, deaths: int, why: str) -> None:
        """Warns that a worker died at a shard, which is done again; PlifError where that were the MOST_DEATHSth time."""
        at = self.plan.range_of(shard)
        samples = f"samples {at.start} to {at.stop - 1}"
        if deaths >= MOST_DEATHS:
            raise PlifError(
                f"{self.artifact}: {deaths} workers died at {samples} ({why}); is there enough memory? Try fewer --workers or a "
                "smaller --batch"
            )
        warnings.warn(f"a worker died at {samples}, which are done again ({why})", PlifWarning, stacklevel=2)

    def load(self) -> Model:
        """Opens the artifact as the plan says."""
        return load(self.artifact, self.plan.engine, **vars(self.options))


class Worker:
    """Does shards of a job."""

    def __init__(self, job: Job, model: Model | None = None, dataset: Dataset | None = None) -> None:
        self._job = job
        self.model = model or job.load()
        with warnings.catch_warnings():
            if model is None:
                warnings.simplefilter("ignore")  # who made the job has opened the samples, and was told
            self.dataset = dataset or job.samples.open(self.model)
        self.shards = Shards(job.folder, job.plan)
        self._sessions: SimpleQueue[Session] = SimpleQueue()  # those that no lane has
        for _ in range(job.lanes):
            self._sessions.put(open_session(self.model, job.plan.batch))
        self._threads = ThreadPoolExecutor(job.lanes, "plif-lane")
        self._stopped = Event()
        self._begun: dict[int, Iterator[Outcome]] = {}

    def close(self) -> None:
        """Ends the threads."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def run(self, k: int, tell: Tell = lambda done: None, following: int | None = None) -> None:
        """Evaluates shard k and writes its file. `tell` hears of every batch.

        following  the shard that will be next, so that lanes do not wait for the end of this one
        """
        whole = Outcome()
        answers = self._begun.pop(k, None) or self._begin(k)
        for found in answers:
            if following is not None and following not in self._begun:
                self._begun[following] = self._begin(following)
            whole.predictions += found.predictions
            whole.add(found)
            tell(count(found.predictions))
        self.shards.write(k, whole)

    def _begin(self, k: int) -> Iterator[Outcome]:
        """The answers of each batch of shard k, in order; the work on the first ones begins now."""
        samples, size = self.shards.plan.range_of(k), self.shards.plan.batch
        groups = [samples[at : at + size] for at in range(0, len(samples), size)]
        if self._job.lanes == 1:  # the engine runs in the thread that asks
            return (self._answer(batch) for batch in self._ahead(self._read, groups, 1))
        return self._ahead(lambda group: self._answer(self._read(group)), groups, 2 * self._job.lanes)

    def _ahead(self, work: Callable[[range], Answer], groups: list[range], most: int) -> Iterator[Answer]:
        """work(group) for each, in order; up to `most` further ones are at work meanwhile in the worker's threads."""
        waiting: deque[Future[Answer]] = deque(self._threads.submit(work, group) for group in groups[:most])

        def each() -> Iterator[Answer]:
            for group in groups[most:]:
                found = waiting.popleft().result()
                waiting.append(self._threads.submit(work, group))
                yield found
            while waiting:
                yield waiting.popleft().result()

        return each()

    def _read(self, samples: range) -> Reading:
        return read_samples(self.dataset, samples)

    def _answer(self, batch: Reading) -> Outcome:
        session = self._sessions.get()
        try:
            margins = self._job.exits, self._job.plan.min_margin
            return answer(session, self.dataset, batch, *margins, self._stopped)
        finally:
            self._sessions.put(session)
