"""A worker: one engine that stays open, and threads that read the next batches while the engine runs.

The same worker evaluates shards in the main process, in processes next to it (processes.py) and on other machines (a
part). In the main process it may have several lanes: threads that each read a batch and run it, in a session of their
own. Native code does both without the interpreter's lock, so lanes use several cores without starting a process.
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
from runtime.core.measure.evaluate.batches import ExitRule
from runtime.core.measure.evaluate.loop import Outcome, Tally, count_predictions, run_samples
from runtime.core.measure.evaluate.samples import SampleBatch, SampleSource, read_samples
from runtime.observers.evaluation_workers.shards import ShardPlan, Shards

Output = TypeVar("Output")


OnTally = Callable[[Tally], None]  # called after each batch
MAX_DEATHS = 3  # the most dead workers of one shard


@dataclass(frozen=True)
class Job:
    """The task of an evaluation worker: artifact, samples, plan and options, to be sent to processes and machines.

    folder   the folder of the shards
    options  used by each worker to open the artifact
    exits    ends samples early
    lanes    batches that a worker runs at once
    """

    artifact: Path
    samples: SampleSource
    plan: ShardPlan
    folder: Path
    options: EngineOptions
    exits: ExitRule | None = None
    lanes: int = 1

    def report_death(self, shard: int, deaths: int, why: str) -> None:
        """Warn that an evaluation worker died and its shard is evaluated again; raise an error if too many died."""
        numbers = self.plan.sample_range(shard)
        samples = f"samples {numbers.start} to {numbers.stop - 1}"
        if deaths >= MAX_DEATHS:
            raise PlifError(
                f"{self.artifact}: {deaths} workers died at {samples} ({why}); is there enough memory? Try fewer --workers or a "
                "smaller --batch"
            )
        warnings.warn(f"a worker died at {samples}, which are done again ({why})", PlifWarning, stacklevel=2)

    def load(self) -> Model:
        """Open the artifact of an evaluation job with the engine that the plan names."""
        return load(self.artifact, self.plan.engine, **vars(self.options))


class Worker:
    """A worker that evaluates shards (groups of samples) of an evaluation with one open engine."""

    def __init__(self, job: Job, model: Model | None = None, dataset: Dataset | None = None) -> None:
        self._job = job
        self.model = model or job.load()
        with warnings.catch_warnings():
            if model is None:
                warnings.simplefilter("ignore")  # the main process opened the samples as well, and showed the warnings
            self.dataset = dataset or job.samples.open(self.model)
        self.shards = Shards(job.folder, job.plan)
        self._sessions: SimpleQueue[Session] = SimpleQueue()  # sessions that no lane uses
        for _ in range(job.lanes):
            self._sessions.put(open_session(self.model, job.plan.batch))
        self._threads = ThreadPoolExecutor(job.lanes, "plif-lane")
        self._stopped = Event()
        self._started: dict[int, Iterator[Outcome]] = {}

    def close(self) -> None:
        """End the threads of the evaluation worker."""
        self._stopped.set()
        self._threads.shutdown(cancel_futures=True)

    def run(self, k: int, on_tally: OnTally = lambda tally: None, following: int | None = None) -> None:
        """Evaluate shard k of the samples and write its result file; `on_tally` is called after each batch.

        following  the next shard, so that lanes do not wait for the end of this one
        """
        shard = Outcome()
        answers = self._started.pop(k, None) or self._begin(k)
        for outcome in answers:
            if following is not None and following not in self._started:
                self._started[following] = self._begin(following)
            shard.predictions += outcome.predictions
            shard.add(outcome)
            on_tally(count_predictions(outcome.predictions))
        self.shards.write(k, shard)

    def _begin(self, k: int) -> Iterator[Outcome]:
        """Start the evaluation of shard k of the samples; return an iterator over its batches' outcomes, in order."""
        samples, size = self.shards.plan.sample_range(k), self.shards.plan.batch
        groups = [samples[first : first + size] for first in range(0, len(samples), size)]
        if self._job.lanes == 1:  # the engine runs in the caller's thread
            return (self._evaluate(batch) for batch in self._run_ahead(self._read, groups, 1))
        return self._run_ahead(lambda group: self._evaluate(self._read(group)), groups, 2 * self._job.lanes)

    def _run_ahead(self, work: Callable[[range], Output], groups: list[range], depth: int) -> Iterator[Output]:
        """Run work(group) in the evaluation worker's threads, up to `depth` groups ahead; return the results in order."""
        waiting: deque[Future[Output]] = deque(self._threads.submit(work, group) for group in groups[:depth])

        def outputs() -> Iterator[Output]:
            for group in groups[depth:]:
                output = waiting.popleft().result()
                waiting.append(self._threads.submit(work, group))
                yield output
            while waiting:
                yield waiting.popleft().result()

        return outputs()

    def _read(self, samples: range) -> SampleBatch:
        return read_samples(self.dataset, samples)

    def _evaluate(self, batch: SampleBatch) -> Outcome:
        session = self._sessions.get()
        try:
            margins = self._job.exits, self._job.plan.min_margin
            return run_samples(session, self.dataset, batch, *margins, self._stopped)
        finally:
            self._sessions.put(session)
