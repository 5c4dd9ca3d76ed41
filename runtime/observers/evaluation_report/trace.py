"""Samples step by step, of which an evaluation with an early exit kept nothing: they are run once more, with all their steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset
from runtime.core.data.dataset import EventSet
from runtime.core.engines.model import OpenModel
from runtime.core.engines.unrolled import open_session
from runtime.core.measure.evaluate.batches import Trace, run_batch, trace_of
from runtime.core.measure.evaluate.samples import read

BATCH = 16


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
