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
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

from runtime.api import Model, load
from runtime.base.errors import PlifError, PlifWarning
from runtime.data import Dataset
from runtime.data.dataset import UNKNOWN
from runtime.engines.session import Session
from runtime.engines.unrolled import open_session
from runtime.measure.evaluate.batches import Batch, run_batch
from runtime.measure.evaluate.predictions import Prediction
from runtime.measure.evaluate.samples import Reading, SampleSource, read_samples
from runtime.measure.evaluate.shards import ShardPlan, Shards, Statistics
from runtime.measure.evaluate.trace import MOST_TRACED, Trace, trace_of
from runtime.stream.decide import NOT_SURE

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Outcome:
    """What a worker says after each batch: samples done, those answered rightly, those that could not be read."""

    samples: int
    right: int
    unreadable: int


Told = Callable[[Outcome], None]
MOST_DEATHS = 3  # of workers at one shard


@dataclass(frozen=True)
class Job:
    """All that a worker must know; it goes to other processes and machines.

    folder   where the shards are written
    threads  of the engine in each worker; None as it finds best
    lanes    batches that a worker runs at once
    """

    artifact: Path
    samples: SampleSource
    plan: ShardPlan
    folder: Path
    threads: int | None = None
    rates: bool = False
    flush_denormals: bool | None = None
    sha256: str | None = None
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
        plan = self.plan
        return load(
            self.artifact,
            plan.engine,
            threads=self.threads,
            device=plan.device,
            rates=self.rates,
            flush_denormals=self.flush_denormals,
            sha256=self.sha256,
        )


class Worker:
    """Does shards of a job."""

    def __init__(self, job: Job, model: Model | None = None, dataset: Dataset | None = None) -> None:
        self.model = model or job.load()
        with warnings.catch_warnings():
            if model is None:
                warnings.simplefilter("ignore")  # who made the job has opened the samples, and was told
            self.dataset = dataset or job.samples.open(self.model)
        self.shards = Shards(job.folder, job.plan)
        self.lanes = job.lanes
        self._sessions: SimpleQueue[Session] = SimpleQueue()  # those that no lane has
        for _ in range(job.lanes):
            self._sessions.put(open_session(self.model, job.plan.batch))
        self._threads = ThreadPoolExecutor(job.lanes, "plif-lane")
        self._stopped = Event()
        self._begun: dict[int, Iterator[_Answers]] = {}

    def close(self) -> None:
        """Ends the threads."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def run(self, k: int, told: Told = lambda done: None, following: int | None = None) -> None:
        """Evaluates shard k and writes its file. `told` hears of every batch.

        following  the shard that will be next, so that lanes do not wait for the end of this one
        """
        predictions: list[Prediction] = []
        statistics = Statistics()
        answers = self._begun.pop(k, None) or self._begin(k)
        for found in answers:
            if following is not None and following not in self._begun:
                self._begun[following] = self._begin(following)
            predictions += found.predictions
            statistics.add_rates(found.rates)
            for call_ms in found.call_ms:
                statistics.calls.add(call_ms)
            statistics.add_notes(found.notes)
            statistics.traces += found.traces
            right = sum(one.predicted == one.truth for one in found.predictions if one.error is None)
            unreadable = sum(one.error is not None for one in found.predictions)
            told(Outcome(len(found.predictions), right, unreadable))
        self.shards.write(k, predictions, statistics)

    def _begin(self, k: int) -> Iterator[_Answers]:
        """The answers of each batch of shard k, in order; the work on the first ones begins now."""
        samples, size = self.shards.plan.range_of(k), self.shards.plan.batch
        groups = [samples[at : at + size] for at in range(0, len(samples), size)]
        if self.lanes == 1:  # the engine runs in the thread that asks
            return (self._evaluate(batch) for batch in self._ahead(self._read, groups, 1))
        return self._ahead(lambda group: self._evaluate(self._read(group)), groups, 2 * self.lanes)

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

    def _evaluate(self, batch: Reading) -> _Answers:
        usable = [one for one in batch.samples if one.x is not None]
        found: dict[int, dict[str, Any]] = {}
        answers = _Answers(notes=[note for one in batch.samples for note in one.notes])
        ms = None
        if usable:
            session = self._sessions.get()
            frames = [one.x for one in usable if one.x is not None] if batch.x is None else batch.x
            try:
                ran: Batch = run_batch(session, frames, self.shards.plan.exit_margin, self._stopped)
            finally:
                self._sessions.put(session)
            voters = self.model.voters
            sure = ran.sure(voters, self.shards.plan.min_margin)
            scores = ran.scores(voters).tolist()
            found = {
                one.i: {"scores": tuple(row), "steps": steps, "why": None if answered else NOT_SURE}
                for one, row, steps, answered in zip(usable, scores, ran.steps, sure, strict=True)
            }
            ms = round(sum(ran.call_ms) / len(usable), 4)
            answers.rates, answers.call_ms = ran.rates, ran.call_ms
            if self.shards.plan.exit_margin is None:  # else not every sample took all its steps
                answers.traces = [
                    trace_of(ran, n, one.i, self.dataset.label(one.i), one.x)
                    for n, one in enumerate(usable)
                    if one.i < MOST_TRACED and one.x is not None
                ]
        for one in batch.samples:
            path, label = self.dataset.path(one.i), self.dataset.label(one.i)
            truth = None if label == UNKNOWN else label
            if one.error is not None:
                answers.predictions.append(Prediction(one.i, path, truth, error=one.error))
                continue
            went = {} if one.fate is None else vars(one.fate)
            answers.predictions.append(Prediction(one.i, path, truth, milliseconds=ms, **found[one.i], **went))
        return answers


@dataclass
class _Answers:
    """What one batch gave. `notes` are remarks of the readers, `traces` of the first samples, the rest as in Batch."""

    predictions: list[Prediction] = field(default_factory=list)
    rates: dict[str, tuple[float, int]] = field(default_factory=dict)
    call_ms: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
