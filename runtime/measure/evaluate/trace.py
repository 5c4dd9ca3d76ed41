"""Samples step by step: the votes of every step and the events of every frame, which all curves are drawn from.

An evaluation without an early exit writes down those of its first MOST_TRACED samples (worker.py); `trace` runs others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from runtime.base.errors import PlifError
from runtime.data import Dataset
from runtime.data.dataset import EventSet
from runtime.engines.model import OpenModel
from runtime.engines.unrolled import open_session
from runtime.measure.evaluate.batches import Batch, run_batch
from runtime.measure.evaluate.samples import read
from runtime.native.rules import answers_of

BATCH = 16
MOST_TRACED = 1000  # samples of an evaluation


@dataclass(frozen=True)
class Trace:
    """One sample.

    votes   float64 [T, classes], whole spikes that voted for each class in each step
    events  float64 [T], the sum of each frame: events, or active pixels where the framing is binary; None for still images
    """

    sample: int
    truth: int
    votes: np.ndarray
    events: np.ndarray | None

    @cached_property
    def evidence(self) -> np.ndarray:
        """float64 [T, classes]: the votes up to and with each step."""
        total: np.ndarray = np.cumsum(self.votes, axis=0)
        return total

    @cached_property
    def answers(self) -> np.ndarray:
        """int64 [T]: the answer after each step; NONE without a vote."""
        return answers_of(self.evidence)


def trace_of(batch: Batch, row: int, sample: int, truth: int, x: np.ndarray) -> Trace:
    """Of one row of a batch that took all its steps, with its input float32 [T, C, H, W], or [C, H, W] of a still image."""
    events = x.sum(axis=(1, 2, 3), dtype=np.float64) if x.ndim == 4 else None
    return Trace(sample, truth, batch.votes[: batch.steps[row], row].copy(), events)


def trace(
    model: OpenModel,
    dataset: Dataset | EventSet,
    samples: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Trace]:
    """Runs samples of a data set that fits the model; those that cannot be read are left out, as evaluation leaves them out."""
    rows = min(model.card.get("batch") or BATCH, max(len(samples), 1))
    session = open_session(model, model.card.get("batch") or rows)
    found: list[Trace] = []
    for group in _read_ahead(dataset, samples, session.streams):
        if group:
            batch = run_batch(session, [x for _, x in group])
            found += (trace_of(batch, n, i, dataset.label(i), x) for n, (i, x) in enumerate(group))
        if progress:
            progress(len(found), len(samples))
    return found


def _read_ahead(
    dataset: Dataset | EventSet, samples: Sequence[int], size: int
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """(number, x) of the samples that can be read, a batch at a time, of which the next is read meanwhile."""

    def group(at: int) -> list[tuple[int, np.ndarray]]:
        found = []
        for i in samples[at : at + size]:
            try:
                found.append((i, read(dataset, i)[0]))
            except PlifError:
                continue  # evaluation has named it
        return found

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(group, 0)
        for at in range(0, len(samples), size):
            now = ahead.result()
            ahead = pool.submit(group, at + size)
            yield now
