"""A worker: one engine that stays open, and a thread that reads the next batch while the engine runs.

The same worker does the shards in the program itself, in processes beside it (processes.py) and on other machines (cluster.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.api import Model, load
from runtime.base.errors import PlifError, PlifWarning
from runtime.data import Dataset
from runtime.data.dataset import UNKNOWN
from runtime.engines.unrolled import open_session
from runtime.measure.batches import Batch, run_batch
from runtime.measure.predictions import Prediction
from runtime.measure.samples import Samples, read
from runtime.measure.shards import MOST_NOTES, Plan, Shards, Statistics


@dataclass(frozen=True)
class Done:
    """What a worker says after each batch: samples done, those answered rightly, those that could not be read."""

    samples: int
    right: int
    unreadable: int


Told = Callable[[Done], None]


@dataclass(frozen=True)
class Job:
    """All that a worker must know; it goes to other processes and machines.

    folder   where the shards are written
    threads  of the engine in each worker; None as it finds best
    """

    artifact: Path
    samples: Samples
    plan: Plan
    folder: Path
    threads: int | None = None
    rates: bool = False
    flush_denormals: bool = True
    sha256: str | None = None

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
        self.session = open_session(self.model, job.plan.batch)
        self.shards = Shards(job.folder, job.plan)
        self._reader = ThreadPoolExecutor(1, "plif-reader")

    def close(self) -> None:
        """Ends the thread that reads."""
        self._reader.shutdown(cancel_futures=True)

    def run(self, k: int, told: Told = lambda done: None) -> None:
        """Evaluates shard k and writes its file. `told` hears of every batch."""
        predictions: list[Prediction] = []
        statistics = Statistics()
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            for batch in self._batches(self.shards.plan.range_of(k)):
                found = self._evaluate(batch, statistics)
                predictions += found
                right = sum(one.predicted == one.truth for one in found if one.error is None)
                told(Done(len(found), right, sum(one.error is not None for one in found)))
        said = [str(remark.message) for remark in remarks if issubclass(remark.category, PlifWarning)]
        statistics.notes = list(dict.fromkeys(said))[:MOST_NOTES]
        self.shards.write(k, predictions, statistics)

    def _batches(self, samples: range) -> Iterator[list[_Read]]:
        """The samples of each batch, read one batch ahead."""
        size = self.session.streams
        groups = [samples[at : at + size] for at in range(0, len(samples), size)]
        ahead = self._reader.submit(self._read, groups[0])
        for following in [*groups[1:], None]:
            batch = ahead.result()
            if following is not None:
                ahead = self._reader.submit(self._read, following)
            yield batch

    def _read(self, samples: range) -> list[_Read]:
        return [_Read.of(self.dataset, i) for i in samples]

    def _evaluate(self, batch: list[_Read], statistics: Statistics) -> list[Prediction]:
        usable = [one for one in batch if one.x is not None]
        found: dict[int, tuple[tuple[float, ...], int]] = {}
        ms = None
        if usable:
            ran: Batch = run_batch(
                self.session, [one.x for one in usable if one.x is not None], self.shards.plan.exit_margin
            )
            scores = ran.scores(self.model.voters).tolist()
            found = {one.i: (tuple(row), steps) for one, row, steps in zip(usable, scores, ran.steps, strict=True)}
            ms = round(sum(ran.call_ms) / len(usable), 4)
            statistics.add_rates(ran.rates)
            for call_ms in ran.call_ms:
                statistics.calls.add(call_ms)
        predictions = []
        for one in batch:
            path, label = self.dataset.path(one.i), self.dataset.label(one.i)
            truth = None if label == UNKNOWN else label
            if one.error is not None:
                predictions.append(Prediction(one.i, path, truth, error=one.error))
            else:
                predictions.append(Prediction(one.i, path, truth, *found[one.i], one.events, ms))
        return predictions


@dataclass(frozen=True)
class _Read:
    """One sample as it was read: frames float32 [T, C, H, W] or an image [C, H, W], or the reason why there is none."""

    i: int
    x: np.ndarray | None = None
    events: int | None = None
    error: str | None = None

    @classmethod
    def of(cls, dataset: Dataset, i: int) -> _Read:
        try:
            return cls(i, *read(dataset, i))
        except PlifError as error:
            return cls(i, error=str(error))
