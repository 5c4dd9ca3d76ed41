"""Batch, workers and lanes, chosen by measuring on the first samples of the set itself. None changes an answer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from runtime.api import Model
from runtime.base.errors import PlifError
from runtime.data import Dataset
from runtime.engines.choice import NO_CALIBRATION
from runtime.engines.unrolled import open_session
from runtime.measure.batches import run_batch
from runtime.measure.samples import read, reads_without_lock
from runtime.native import cores

USUAL = 16  # samples in a batch where nothing is measured
BATCHES = (1, 4, 16, 64)
BETTER = 0.95  # a larger batch must take less than this share of the time of a sample
MOST_BYTES = 1 << 26  # of the frames of one batch
LONG_S = 0.02  # a run for which allocating does not count
BATCH_S = 0.05  # of a batch where its calls cost nothing: progress comes often, and threads end together
WORTH_S = 2.0  # an evaluation that takes less is not worth measuring for
SHARE = 0.05  # of the whole evaluation, that measuring may take
START_S = {"torch": 5.0}  # what it costs to start a worker with this engine ...
USUAL_START_S = 1.0  # ... and with the others


@dataclass(frozen=True)
class Choice:
    """batch    samples at once
    workers  processes, 1 is this one
    lanes    batches at once in this process, where it is the only worker (worker.py)
    seconds  of a sample in one lane, None if not measured
    """

    batch: int
    workers: int
    lanes: int = 1
    seconds: float | None = None


def choose(model: Model, dataset: Dataset, count: int, batch: int | None = None, workers: int | None = None) -> Choice:
    """What is not given. Raises PlifError where the model does not fit the frames of the set."""
    fixed = model.card.get("batch") or batch
    lanes = _lanes(model)
    usual = Choice(int(fixed or min(USUAL, -(-count // lanes))), workers or 1, lanes)
    if (fixed and workers) or os.environ.get(NO_CALIBRATION, "0") not in ("", "0"):
        return usual
    began = time.perf_counter()
    samples = _first(dataset, 1)
    if not samples:
        return usual
    read_s = time.perf_counter() - began
    run_s = _seconds(model, int(fixed or 1), samples)
    if model.engine.name == "event" and not fixed:  # its rows are independent: a larger batch only saves calls
        fixed = max(1, min(usual.batch, int(BATCH_S / run_s)))
        usual = replace(usual, batch=fixed)
    if count * (read_s + run_s) < WORTH_S:
        return usual
    ends = time.perf_counter() + min(SHARE * count * (read_s + run_s), 10 * WORTH_S)
    chosen = int(fixed or 1)
    if not fixed:
        began = time.perf_counter()
        more = _first(dataset, min(count, BATCHES[-1]), began + (ends - began) / 2)
        if more:
            samples, read_s = more, (time.perf_counter() - began) / len(more)
        most = min(len(samples), MOST_BYTES // max(sample.nbytes for sample in samples))
        for tried in BATCHES[1:]:
            if tried > most or time.perf_counter() + 2 * tried * run_s > ends:
                break
            seconds = _seconds(model, tried, samples)
            if seconds < BETTER * run_s:
                chosen, run_s = tried, seconds
    locked_s = 0.0 if lanes > 1 and reads_without_lock(dataset) else read_s
    return Choice(chosen, workers or _workers(model, count, lanes, read_s + run_s, locked_s), lanes, read_s + run_s)


def _lanes(model: Model) -> int:
    """As many as cores with native code, which runs without Python's lock."""
    return model.options.threads or cores() if model.engine.name == "event" else 1


def _workers(model: Model, count: int, lanes: int, seconds: float, locked_s: float) -> int:
    """One for each core, where starting them pays. Of a sample's time lanes cannot share what is read with Python's lock."""
    if model.options.device not in (None, "cpu") or model.engine.name in ("tensorrt", "tensorrt-rtx"):
        return 1  # there is one GPU
    n, start_s = cores(), START_S.get(model.engine.name, USUAL_START_S)
    alone = count * max(seconds / lanes, locked_s)
    return n if start_s + count * seconds / n < 0.8 * alone else 1


def _first(dataset: Dataset, count: int, until: float = np.inf) -> list[np.ndarray]:
    """The first samples that can be read; those that cannot are named when it is their turn."""
    samples: list[np.ndarray] = []
    for i in range(len(dataset)):
        if len(samples) == count or time.perf_counter() > until:
            break
        try:
            samples.append(read(dataset, i)[0])
        except PlifError:
            if i >= 2 * BATCHES[-1]:
                break
    return samples


def _seconds(model: Model, batch: int, samples: Sequence[np.ndarray]) -> float:
    """Seconds a sample in batches of this size: the better of two runs, since the first one allocates, or one that is long."""
    session = open_session(model, batch)
    part = samples[: max(batch, len(samples) // batch * batch)]
    times = []
    for _ in range(2):
        began = time.perf_counter()
        for at in range(0, len(part), batch):
            run_batch(session, part[at : at + batch])
        times.append((time.perf_counter() - began) / len(part))
        if times[-1] * len(part) > LONG_S:
            break
    return min(times)
