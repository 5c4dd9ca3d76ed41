"""Batch, workers and lanes, chosen by measuring on the first samples of the set itself. None changes an answer."""

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
from runtime.core.measure.evaluate.loop import USUAL
from runtime.core.measure.evaluate.samples import read
from runtime.core.observers import hearing
from runtime.core.parts import Part
from runtime.native import cores

BATCHES = (1, 4, 16, 64)
MOST_BYTES = 1 << 26  # of the frames of one batch
ROUNDS = 2  # the first one allocates ...
LONG_S = 0.02  # ... which does not count where it takes so long
BATCH_S = 0.05  # of a batch where its calls cost nothing: progress comes often, and threads end together
WORTH_S = 2.0  # an evaluation that takes less is not worth measuring for
SHARE = 0.05  # of the whole evaluation, that measuring may take
GUESSED = 0.20  # times that are guessed must win by more than measured ones


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
    # as many lanes as cores with native code, which runs without Python's lock
    lanes = model.options.threads or cores() if model.engine.rows_apart else 1
    usual = Choice(int(fixed or min(USUAL, -(-count // lanes))), workers or 1, lanes)
    tuner = _tuner()
    if tuner is None or (fixed and workers) or not tuner.load("measuring")():
        return usual
    in_turns, tune = tuner.load("in_turns"), tuner.load("tune")
    began = time.perf_counter()
    samples = _first(dataset, 1)
    if not samples:
        return usual
    read_s = time.perf_counter() - began
    chosen = most = int(fixed or 1)
    session, run_s, ends = cache(partial(open_session, model)), np.inf, np.inf

    def run(size: int) -> tuple[float] | None:
        """Seconds of a sample that is as long as most, in a batch of this size; None where it has no time, or no place."""
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
        more = _first(dataset, min(count, BATCHES[-1]), (began + ends) / 2)
        if more:
            samples, read_s = more, (time.perf_counter() - began) / len(more)
        most = min(len(samples), MOST_BYTES // max(sample.nbytes for sample in samples))
        left_s = ends - time.perf_counter()
        chosen = tune(BATCHES, partial(in_turns, run, rounds=ROUNDS, budget_s=left_s)).best
    locked_s = 0.0 if lanes > 1 and _reads_without_lock(dataset) else read_s
    return Choice(chosen, workers or _workers(model, count, lanes, read_s + run_s, locked_s), lanes, read_s + run_s)


def _workers(model: Model, count: int, lanes: int, seconds: float, locked_s: float) -> int:
    """One for each core, where starting them pays. Of a sample's time lanes cannot share what is read with Python's lock."""
    if model.options.device not in (None, "cpu") or model.engine.on_gpu:
        return 1  # there is one GPU
    if current_process().daemon:  # may have no processes of its own
        return 1
    tuner, n, start_s = _tuner(), cores(), model.engine.start_s
    if tuner is None:
        return 1
    alone_s = count * max(seconds / lanes, locked_s)
    found: int = tuner.load("fastest")({1: alone_s, n: start_s + count * seconds / n}, GUESSED)
    return found


def _tuner() -> Part | None:
    """The part that chooses by time; without it nothing is measured."""
    return next(iter(hearing("choice", "engines")), None)


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


def _reads_without_lock(dataset: Dataset | EventSet) -> bool:
    """Whether the first sample is read by native code alone."""
    return isinstance(dataset, EventSet) and dataset.frames_in_one_call(0) is not None
