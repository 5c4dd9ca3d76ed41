"""The choice of batch size, workers and lanes, measured on the first samples of the set; it changes no answer."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing import current_process

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset
from runtime.core.data.dataset import EventSet
from runtime.core.engines.unrolled import open_session
from runtime.core.measure.evaluate.batches import run_batch
from runtime.core.measure.evaluate.loop import DEFAULT_BATCH
from runtime.core.measure.evaluate.samples import load_sample
from runtime.core.observers import find_observers
from runtime.core.parts import Part
from runtime.native import count_cores

BATCHES = (1, 4, 16, 64)
MOST_BYTES = 1 << 26  # the frames of one batch
ROUNDS = 2  # the first one allocates ...
LONG_S = 0.02  # ... which does not count where it takes so long
BATCH_S = 0.05  # the time of a batch if calls cost nothing: progress is frequent, and threads end together
WORTH_S = 2.0  # an evaluation that takes less is not worth measuring for
SHARE = 0.05  # of the whole evaluation's time, for measuring
GUESS_MARGIN = 0.20  # estimated times must win by this share, more than measured ones


@dataclass(frozen=True)
class BatchChoice:
    """The chosen batch size, number of worker processes and number of parallel batches (lanes) of an evaluation.

    batch    samples at once
    workers  processes; 1 is this one
    lanes    batches at once in this process, if it is the only worker (worker.py)
    seconds  of a sample in one lane, None if not measured
    """

    batch: int
    workers: int
    lanes: int = 1
    seconds: float | None = None


def choose_batch(
    model: Model, dataset: Dataset, count: int, batch: int | None = None, workers: int | None = None
) -> BatchChoice:
    """Choose the batch size, worker processes and parallel batches (lanes) of an evaluation where the user has not.

    Raises PlifError if the model does not fit the frames of the set.
    """
    fixed = model.card.get("batch") or batch
    # as many lanes as cores with native code, which runs without Python's lock
    lanes = model.options.threads or count_cores() if model.engine.rows_apart else 1
    usual = BatchChoice(int(fixed or min(DEFAULT_BATCH, -(-count // lanes))), workers or 1, lanes)
    tuner = _find_tuner()
    if tuner is None or (fixed and workers) or not tuner.load("may_measure")():
        return usual
    in_turns, tune = tuner.load("in_turns"), tuner.load("tune")
    began = time.perf_counter()
    samples = _first_samples(dataset, 1)
    if not samples:
        return usual
    read_s = time.perf_counter() - began
    chosen = most = int(fixed or 1)
    session, run_s, ends = cache(partial(open_session, model)), np.inf, np.inf

    def run(size: int) -> tuple[float] | None:
        """Measure the seconds for a sample of mean length, in a batch of `size` samples.

        Returns None without time or samples for it.
        """
        nonlocal run_s
        if size > most or time.perf_counter() + size * run_s > ends:
            return None
        part, began = samples[:size], time.perf_counter()
        run_batch(session(size), part)
        frame_s = (time.perf_counter() - began) / sum(map(len, part))
        took_s = float(frame_s * np.mean([len(sample) for sample in samples]))
        run_s = min(run_s, took_s)
        return (took_s,)

    in_turns(run, (chosen,), ROUNDS, LONG_S)
    if model.engine.rows_apart and not fixed:  # its rows are independent: a larger batch only saves calls
        fixed = chosen = max(1, min(usual.batch, int(BATCH_S / run_s)))
        usual = replace(usual, batch=fixed)
    if count * (read_s + run_s) < WORTH_S:
        return usual
    if not fixed:
        began = time.perf_counter()
        ends = began + min(SHARE * count * (read_s + run_s), 10 * WORTH_S)
        further = _first_samples(dataset, min(count, BATCHES[-1]), (began + ends) / 2)
        if further:
            samples, read_s = further, (time.perf_counter() - began) / len(further)
        most = min(len(samples), MOST_BYTES // max(sample.nbytes for sample in samples))
        left_s = ends - time.perf_counter()
        chosen = tune(BATCHES, partial(in_turns, run, rounds=ROUNDS, budget_s=left_s)).best
    locked_s = 0.0 if lanes > 1 and _reads_without_lock(dataset) else read_s
    return BatchChoice(
        chosen, workers or _choose_workers(model, count, lanes, read_s + run_s, locked_s), lanes, read_s + run_s
    )


def _choose_workers(model: Model, count: int, lanes: int, seconds: float, locked_s: float) -> int:
    """Return the number of worker processes: one for each core, if they save more time than their start costs.

    locked_s is the part of a sample's time that lanes cannot share: reading with Python's lock.
    """
    if model.options.device not in (None, "cpu") or model.engine.on_gpu:
        return 1  # there is one GPU
    if current_process().daemon:  # a daemon cannot start processes
        return 1
    tuner, n, start_s = _find_tuner(), count_cores(), model.engine.start_s
    if tuner is None:
        return 1
    alone_s = count * max(seconds / lanes, locked_s)
    fastest: int = tuner.load("fastest")({1: alone_s, n: start_s + count * seconds / n}, GUESS_MARGIN)
    return fastest


def _find_tuner() -> Part | None:
    """Return the plug-in part that measures which alternative is fastest, or None if it is not installed."""
    return next(iter(find_observers("choice", "engines")), None)


def _first_samples(dataset: Dataset, count: int, until: float = np.inf) -> list[np.ndarray]:
    """Read the first readable samples of a data set, at most `count`.

    The evaluation reports unreadable samples later.
    """
    samples: list[np.ndarray] = []
    for i in range(len(dataset)):
        if len(samples) == count or time.perf_counter() > until:
            break
        try:
            samples.append(load_sample(dataset, i)[0])
        except PlifError:
            if i >= 2 * BATCHES[-1]:
                break
    return samples


def _reads_without_lock(dataset: Dataset | EventSet) -> bool:
    """Return whether native code alone reads samples of a data set, without Python's global lock."""
    return isinstance(dataset, EventSet) and dataset.read_frames_native(0) is not None
