"""One batch of samples through a session: the votes of every step, what the clock says, and how much each layer fires.

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
from runtime.core.engines.session import Session, whole_votes
from runtime.native.rules import answers_of

MOST_TRACED = 1000  # samples of an evaluation, whose steps are kept
MOST_AT_ONCE = 1 << 25  # bytes of frames in one call, of which a session keeps a copy


@dataclass
class Batch:
    """What one batch gave.

    votes    float64 [T, samples, classes], whole spikes for each class in each step (y where the network does not vote);
             zeros where a sample has no such step
    steps    time-steps of each sample
    call_ms  milliseconds of each step of all samples; of an unrolled artifact of each call. Several samples that are equally long
             take their steps in one call, and so do all of a loop form; then each of its steps has its share of the time
    rates    {layer: [sum of the firing rates (0..1) of every step and sample, how many these are]}
    """

    votes: np.ndarray
    steps: list[int]
    call_ms: list[float] = field(default_factory=list)
    rates: dict[str, tuple[float, int]] = field(default_factory=dict)

    @cached_property
    def evidence(self) -> np.ndarray:
        """float64 [samples, classes]: all votes, added step by step, so that the form of the artifact changes no bit of them."""
        total: np.ndarray = np.cumsum(self.votes, axis=0)[-1]
        return total

    def scores(self, voters: int) -> np.ndarray:
        """float64 [samples, classes]: the share (0..1) of all possible votes, voters x steps, that each class got."""
        shares: np.ndarray = self.evidence / (voters * np.asarray(self.steps)[:, None])
        return shares

    def sure(self, voters: int, margin: float) -> list[bool]:
        """Whether each sample has an answer, as a stream of it would have: `--decide sum,margin=MARGIN --reset recording`."""
        return [answer >= 0 for answer in answers_of(self.evidence, voters * np.asarray(self.steps), margin)]


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


class Exits(Protocol):
    """Who ends samples before all their steps. It goes to other processes. margin: of an early exit, for people."""

    @property
    def margin(self) -> float: ...

    def enough(self, evidence: np.ndarray, model: OpenModel) -> np.ndarray:
        """Whether each of some samples has enough evidence, votes float64 [samples, classes] -> bool [samples]."""
        ...


class Stopped(Exception):
    """The batch was given up."""


def run_batch(
    session: Session,
    samples: Sequence[np.ndarray] | np.ndarray,
    exits: Exits | None = None,
    stopped: Event | None = None,
) -> Batch:
    """Runs samples, at most as many as the session has streams, from reset.

    samples  float32 [T, C, H, W] of each recording, T may differ; or still images [C, H, W]. One array [T, samples, C, H, W] of
             recordings that are equally long saves putting them together
    exits    who ends samples early; None: nobody
    stopped  is looked at in every step
    Raises PlifError where an unrolled artifact does not fit the number of frames, and Stopped.
    """
    session.reset()
    model = session.model
    count = samples.shape[1] if isinstance(samples, np.ndarray) else len(samples)
    steps = [len(samples)] * count if isinstance(samples, np.ndarray) else [len(sample) for sample in samples]
    steps = [model.T] * count if model.static else steps
    batch = Batch(np.zeros((max(steps), count, len(model.classes))), steps)
    evidence = np.zeros(batch.votes.shape[1:])  # of an early exit
    rates: dict[str, list[np.ndarray]] = {}
    for first, x, rows in _calls(model, samples, steps, single=exits is not None):
        if stopped is not None and stopped.is_set():
            raise Stopped
        began = time.perf_counter()
        y = _call(session, x, rows)  # [T, rows, classes]
        steps_timed = 1 if model.unrolled else len(y)
        batch.call_ms += [1e3 * (time.perf_counter() - began) / steps_timed] * steps_timed
        batch.votes[first : first + len(y), slice(None) if len(rows) == count else rows] = y
        if exits is not None:
            evidence[rows] += whole_votes(y[0], model.voters)
            for i in rows[exits.enough(evidence[rows], model)]:
                steps[i] = first + 1
        for layer, values in session.call_rates.items():
            rates.setdefault(layer, []).append(
                values.reshape(len(y), -1)[:, rows] if model.card.get("batch") else values
            )
    batch.votes = whole_votes(batch.votes, model.voters)
    for layer, found in rates.items():
        batch.rates[layer] = float(sum(part.sum(dtype=np.float64) for part in found)), sum(part.size for part in found)
    return batch


def _calls(
    model: OpenModel, samples: Sequence[np.ndarray] | np.ndarray, steps: Sequence[int], single: bool
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(first step, x, rows) of each call: x holds frames [T, rows, ...] of `rows`, or their images.

    steps   of each sample; they may become fewer between two calls
    single  each step is a call. Else several samples that are equally long take all their steps in one, where their frames are no
            more than MOST_AT_ONCE, and those of a loop form as many as that allows
    """
    every = np.arange(len(steps))
    if model.static and model.unrolled:
        yield 0, np.stack(list(samples)), every
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
            yield t, x[t : t + model.T], every
    else:  # shorter recordings end first; their rows then keep their state
        frame, loop, t = 4 * math.prod(model.card["input"]["shape"]), model.card["form"] == "loop", 0
        alike = isinstance(samples, np.ndarray) or model.static
        whole = len(steps) > 1 and alike and max(steps) * len(steps) * frame <= MOST_AT_ONCE
        while len(rows := np.flatnonzero(np.asarray(steps) > t)):
            n = 1
            if not single and (loop or whole):
                most = MOST_AT_ONCE // (
                    1 if len(rows) == len(every) else len(every)
                )  # each number of rows has its copy
                n = max(1, min(int(np.asarray(steps)[rows].min()) - t, most // (len(rows) * frame)))
            if isinstance(samples, np.ndarray):
                x = samples[t : t + n] if len(rows) == len(every) else samples[t : t + n, rows]
            elif model.static:
                image = np.stack([samples[i] for i in rows.tolist()])
                x = np.broadcast_to(image, (n, *image.shape))
            else:
                x = np.stack([samples[i][t : t + n] for i in rows.tolist()], axis=1)
            yield t, x, rows
            t += n


def _call(session: Session, x: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """y float32 [T, rows, classes] of one call. A fixed batch runs whole: rows without a sample get zeros, and do not count."""
    model, fixed = session.model, session.model.card.get("batch")
    if fixed:
        axis = 0 if model.unrolled and model.static else 1  # of x that holds the rows
        whole = np.zeros((*x.shape[:axis], fixed, *x.shape[axis + 1 :]), np.float32)
        whole[(slice(None),) * axis + (rows,)] = x
        x = whole
    everyone = fixed or len(rows) == session.streams
    y = session.run(x, None if everyone else rows.tolist(), counted=model.card["input"]["kind"] == "events")
    return y[:, rows] if fixed else y
