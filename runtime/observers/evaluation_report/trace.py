"""Step-by-step traces of samples, for an evaluation with an early exit, which has none.

The samples are run again with all their steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset
from runtime.core.data.dataset import EventSet
from runtime.core.engines.model import OpenModel
from runtime.core.engines.unrolled import open_session
from runtime.core.measure.evaluate.batches import Trace, make_trace, run_batch
from runtime.core.measure.evaluate.samples import load_sample

BATCH = 16


def trace_samples(
    model: OpenModel,
    dataset: Dataset | EventSet,
    samples: Sequence[int],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Trace]:
    """Run samples of a data set with all their time-steps, and return the votes after each step (their traces).

    Unreadable samples are left out, as in the evaluation.
    """
    rows = min(model.card.get("batch") or BATCH, max(len(samples), 1))
    session = open_session(model, model.card.get("batch") or rows)
    traces: list[Trace] = []
    for group in _read_batches(dataset, samples, session.streams):
        if group:
            batch = run_batch(session, [x for _, x in group])
            traces += (make_trace(batch, n, i, dataset.label(i), x) for n, (i, x) in enumerate(group))
        if progress:
            progress(len(traces), len(samples))
    return traces


def _read_batches(
    dataset: Dataset | EventSet, samples: Sequence[int], size: int
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Yield batches of (sample number, x) of the readable samples, while the next batch is read in the background."""

    def read_group(first: int) -> list[tuple[int, np.ndarray]]:
        readable = []
        for i in samples[first : first + size]:
            try:
                readable.append((i, load_sample(dataset, i)[0]))
            except PlifError:
                continue  # the evaluation has reported it
        return readable

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(read_group, 0)
        for start in range(0, len(samples), size):
            batch = ahead.result()
            ahead = pool.submit(read_group, start + size)
            yield batch
