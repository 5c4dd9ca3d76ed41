"""Runs one batch of samples through a session: votes of every step, time, and firing rates of each layer.

Each sample is a row of the batch. A row starts from reset and sees its own frames; the other rows change nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from threading import Event
from typing import Protocol

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session, to_spike_counts
from runtime.native.rules import choose_answers

MAX_TRACES = 1000  # samples of an evaluation with a trace
MAX_CALL_BYTES = 1 << 25  # bytes of frames in one call; a session keeps a copy of them


@dataclass
class BatchResult:
    """The result of running a network on one batch of samples: votes, steps, times and firing rates.

    votes    float64 [T, samples, classes], whole spikes for each class in each step (y where the network does
             not vote); zeros where a sample has no such step
    steps    time-steps of each sample
    call_ms  milliseconds of each step of all samples; of an unrolled artifact of each call. Several samples of
             equal length take their steps in one call, and so do all of a loop form; then each of its steps has
             its share of the time
    rates    {layer: [sum of the firing rates (0..1) of every step and sample, number of these]}
    """

    votes: np.ndarray
    steps: list[int]
    call_ms: list[float] = field(default_factory=list)
    rates: dict[str, tuple[float, int]] = field(default_factory=dict)

    @cached_property
    def evidence(self) -> np.ndarray:
        """The sum of all votes of each sample in a batch, float64 [samples, classes].

        They are added step by step, so that the form of the artifact changes no bit of them.
        """
        total: np.ndarray = np.cumsum(self.votes, axis=0)[-1]
        return total

    def scores(self, voters: int) -> np.ndarray:
        """Return each class's share (0..1) of all possible votes, voters x steps: float64 [samples, classes]."""
        shares: np.ndarray = self.evidence / (voters * np.asarray(self.steps)[:, None])
        return shares

    def has_lead(self, voters: int, margin: float) -> list[bool]:
        """Return for each sample of a batch whether its most voted class leads the second one by the margin.

        A stream decides the same with `--decide sum,margin=MARGIN --reset recording`.
        """
        return [answer >= 0 for answer in choose_answers(self.evidence, voters * np.asarray(self.steps), margin)]


@dataclass(frozen=True)
class Trace:
    """The trace of one sample in an evaluation: its votes and event counts, step by step.

    votes   float64 [T, classes], whole spikes that voted for each class in each step
    events  float64 [T], the sum of each frame: events, or active pixels where the framing is binary; None for
            still images
    """

    sample: int
    truth: int
    votes: np.ndarray
    events: np.ndarray | None

    @cached_property
    def evidence(self) -> np.ndarray:
        """The cumulative votes of the sample after each step, float64 [T, classes]."""
        total: np.ndarray = np.cumsum(self.votes, axis=0)
        return total

    @cached_property
    def answers(self) -> np.ndarray:
        """The class with the most votes after each step of a sample, int64 [T]; NONE without a vote."""
        return choose_answers(self.evidence)


def make_trace(batch: BatchResult, row: int, sample: int, truth: int, x: np.ndarray) -> Trace:
    """Return the trace (votes and event counts) of one sample, the row of a batch that took all its steps.

    x  its input, float32 [T, C, H, W], or [C, H, W] of a still image
    """
    events = x.sum(axis=(1, 2, 3), dtype=np.float64) if x.ndim == 4 else None
    return Trace(sample, truth, batch.votes[: batch.steps[row], row].copy(), events)


class ExitRule(Protocol):
    """The rule that ends samples before all their steps (early exit); it can be sent to other processes.

    margin  of an early exit, for reports
    """

    @property
    def margin(self) -> float: ...

    def is_enough(self, evidence: np.ndarray, model: OpenModel) -> np.ndarray:
        """Return whether the votes [samples, classes] suffice to end each sample early: bool [samples]."""
        ...


class Cancellation(Exception):
    """The request to cancel a running batch of samples."""


def run_batch(
    session: Session,
    samples: Sequence[np.ndarray] | np.ndarray,
    exits: ExitRule | None = None,
    stopped: Event | None = None,
) -> BatchResult:
    """Run samples from reset through a session, at most one for each of its streams.

    samples  float32 [T, C, H, W] of each recording, T may differ; or still images [C, H, W]. One array [T,
             samples, C, H, W] of recordings of equal length avoids stacking them
    exits    the rule that ends samples early; None: no sample ends early
    stopped  an event that cancels the batch; checked in every step
    Raises PlifError if an unrolled artifact does not fit the number of frames, and Cancellation.
    """
    session.reset()
    model = session.model
    count = samples.shape[1] if isinstance(samples, np.ndarray) else len(samples)
    steps = [len(samples)] * count if isinstance(samples, np.ndarray) else [len(sample) for sample in samples]
    steps = [model.T] * count if model.static else steps
    batch = BatchResult(np.zeros((max(steps), count, len(model.classes))), steps)
    evidence = np.zeros(batch.votes.shape[1:])  # of an early exit
    rates: dict[str, list[np.ndarray]] = {}
    for first, x, rows in _plan_calls(model, samples, steps, single=exits is not None):
        if stopped is not None and stopped.is_set():
            raise Cancellation
        began = time.perf_counter()
        y = _run_call(session, x, rows)  # [T, rows, classes]
        steps_timed = 1 if model.unrolled else len(y)
        batch.call_ms += [1e3 * (time.perf_counter() - began) / steps_timed] * steps_timed
        batch.votes[first : first + len(y), slice(None) if len(rows) == count else rows] = y
        if exits is not None:
            evidence[rows] += to_spike_counts(y[0], model.voters)
            for i in rows[exits.is_enough(evidence[rows], model)]:
                steps[i] = first + 1
        for layer, values in session.call_rates.items():
            rates.setdefault(layer, []).append(
                values.reshape(len(y), -1)[:, rows] if model.card.get("batch") else values
            )
    batch.votes = to_spike_counts(batch.votes, model.voters)
    for layer, sums in rates.items():
        batch.rates[layer] = float(sum(part.sum(dtype=np.float64) for part in sums)), sum(part.size for part in sums)
    return batch


def _plan_calls(
    model: OpenModel, samples: Sequence[np.ndarray] | np.ndarray, steps: Sequence[int], single: bool
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield (first step, x, rows) of each engine call; x holds frames [T, rows, ...] of `rows`, or their images.

    steps   of each sample; they may decrease between two calls
    single  each step is a call. Otherwise several samples of equal length take all their steps in one call, if
            their frames are no more than MAX_CALL_BYTES, and those of a loop form as many steps as that allows
    """
    all_rows = np.arange(len(steps))
    if model.static and model.unrolled:
        yield 0, np.stack(list(samples)), all_rows
    elif model.unrolled:
        if not isinstance(samples, np.ndarray) and len({len(sample) for sample in samples}) > 1:
            raise PlifError(
                f"{model.path}: recordings have different numbers of frames; evaluate the step form instead"
            )
        x = samples if isinstance(samples, np.ndarray) else np.stack(samples, axis=1)
        if len(x) % model.T:
            raise PlifError(
                f"{model.path}: unrolled over T={model.T}, and the recordings have {len(x)} frames; expected a multiple. "
                "Evaluate the step form, or export again with --T"
            )
        for t in range(0, len(x), model.T):
            yield t, x[t : t + model.T], all_rows
    else:  # shorter recordings end first; their rows then keep their state
        frame, loop, t = 4 * math.prod(model.card["input"]["shape"]), model.card["form"] == "loop", 0
        alike = isinstance(samples, np.ndarray) or model.static
        fits_one_call = len(steps) > 1 and alike and max(steps) * len(steps) * frame <= MAX_CALL_BYTES
        while len(rows := np.flatnonzero(np.asarray(steps) > t)):
            n = 1
            if not single and (loop or fits_one_call):
                most = MAX_CALL_BYTES // (
                    1 if len(rows) == len(all_rows) else len(all_rows)
                )  # each number of rows has a copy of its own
                n = max(1, min(int(np.asarray(steps)[rows].min()) - t, most // (len(rows) * frame)))
            if isinstance(samples, np.ndarray):
                x = samples[t : t + n] if len(rows) == len(all_rows) else samples[t : t + n, rows]
            elif model.static:
                image = np.stack([samples[i] for i in rows.tolist()])
                x = np.broadcast_to(image, (n, *image.shape))
            else:
                x = np.stack([samples[i][t : t + n] for i in rows.tolist()], axis=1)
            yield t, x, rows
            t += n


def _run_call(session: Session, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Run one call of a session and return y, float32 [T, rows, classes].

    A fixed batch runs whole: rows without a sample get zeros, and do not count.
    """
    model, fixed = session.model, session.model.card.get("batch")
    if fixed:
        axis = 0 if model.unrolled and model.static else 1  # the axis of x that holds the rows
        padded = np.zeros((*x.shape[:axis], fixed, *x.shape[axis + 1 :]), np.float32)
        padded[(slice(None),) * axis + (rows,)] = x
        x = padded
    is_full = fixed or len(rows) == session.streams
    y = session.run(x, None if is_full else rows.tolist(), counted=model.card["input"]["kind"] == "events")
    return y[:, rows] if fixed else y
