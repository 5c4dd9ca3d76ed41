"""Labels over time: what a rule says of outputs that are stored, and whether that is right, late or false.

A network runs once over a feed; then any number of rules decide about its outputs, by the code that decides in a stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from runtime.core.base.latency import Z95
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session, Snapshot
from runtime.core.events.frame import Frame
from runtime.core.stream.decide import Rules
from runtime.native.interface import GAP

ALARM_US = 50_000  # a label that is shorter is none
Span = tuple[int, int]  # from, to, in us


@dataclass(frozen=True, eq=False)
class Outputs:
    """A feed as the network saw it: each frame without its pixels, y [steps, rows, classes], and the membranes at its end."""

    frames: list[Frame]
    y: np.ndarray
    end: Snapshot | None = None

    @cached_property
    def times(self) -> np.ndarray:
        """int64 [steps, 4], as rules take the frames: start and end in us, events, flags."""
        rows = [(one.t_start_us, one.t_end_us, one.events, one.discontinuity * GAP) for one in self.frames]
        return np.array(rows, np.int64).reshape(-1, 4)


class Said(NamedTuple):
    """The class after each step, int64 [steps], below zero for none: the firm answer, and the soft one."""

    firm: np.ndarray
    soft: np.ndarray


class Heard(NamedTuple):
    """One gesture: when its label came (ms, None for never), changes of the label from then on, and whether no other label was
    shown for as long."""

    onset_ms: float | None
    changes: int
    right: bool


class FalseLabels(NamedTuple):
    """What is false where nothing is to be said: seconds in all and with a label, and labels of each class, int64 [classes]."""

    seconds: float
    labelled_s: float
    counts: np.ndarray


def rules_of(model: OpenModel, decide: str, reset: str) -> Rules:
    return Rules(model.classes, model.voters, model.T, decide, reset)


def step_all(
    model: OpenModel,
    frames: Iterable[Frame],
    reset: str = "never",
    decide: str = "sum",
    before: Outputs | None = None,
) -> Outputs:
    """Runs the network once over a whole feed, with the resets that it has under that rule; from the membranes on that were
    there at the end of `before`."""
    rules, kept, outputs = rules_of(model, decide, reset), [], []
    session, rows = Session(model, rules.rows), list(range(rules.rows))
    if before is not None and before.end is not None:
        session.restore(before.end)
    for frame in frames:
        rules.begin(frame, frame.discontinuity * GAP, session, rows)
        outputs.append(y := session.step(np.stack([frame.x] * rules.rows), counted=True))
        rules.after(y)
        frame.x, frame.newest = np.zeros(0, np.float32), None  # the frames of an hour would take too much memory
        kept.append(frame)
    return Outputs(kept, np.array(outputs).reshape(-1, rules.rows, len(rules.classes)), session.snapshot())


def say(model: OpenModel, decide: str, reset: str, steps: Outputs) -> Said:
    """What a rule says of stored outputs."""
    return Said(*rules_of(model, decide, reset).say(steps.times, steps.y).T)


def hear(said: np.ndarray, frames: Sequence[Frame], span: Span, since_us: int, label: int) -> Heard:
    """A gesture of class `label` in the time of `span`, whose label may be expected from since_us on. said int64 [steps]."""
    t_us = np.array([frame.t_end_us for frame in frames])
    first, end = (int(np.searchsorted(t_us, one, "right")) for one in span)
    mine, lasts_us = said[first:end].tolist(), np.diff(t_us, prepend=0)[first:end]
    at = mine.index(label) if label in mine else None
    right = longest(mine, lasts_us) == label
    if at is None:
        return Heard(None, 0, right)
    onset_ms = max(int(t_us[first + at]) - since_us, 0) / 1e3
    return Heard(onset_ms, sum(a != b for a, b in pairwise(mine[at:])), right)


def longest(said: Iterable[int], lasts_us: Iterable[int]) -> int | None:
    """The class that was shown for longest, None where none was: `said` after each step, below zero for none."""
    shown: dict[int, int] = {}
    for one, lasts in zip(said, lasts_us, strict=True):
        if one >= 0:
            shown[one] = shown.get(one, 0) + int(lasts)
    return max(shown, key=lambda one: shown[one]) if shown else None


def false_labels(
    said: np.ndarray, frames: Sequence[Frame], classes: int, other: int | None, where: Sequence[Span] | None = None
) -> FalseLabels:
    """Runs of one label, not "other", of at least ALARM_US that are within `where`; None is everywhere. said int64 [steps]."""
    seconds = labelled_s = 0.0
    counts, at, label, since_us, counted = np.zeros(classes, np.int64), 0, -1, 0, True
    for one, frame in zip(said.tolist(), frames, strict=True):
        inside = True
        if where is not None:
            while at < len(where) and where[at][1] <= frame.t_start_us:
                at += 1
            inside = at < len(where) and where[at][0] <= frame.t_start_us
        now = -1 if one == other else max(one, -1)
        if now != label:
            label, since_us, counted = now, frame.t_start_us, False
        if inside:
            lasted_s = (frame.t_end_us - frame.t_start_us) / 1e6
            seconds, labelled_s = seconds + lasted_s, labelled_s + lasted_s * (label >= 0)
            if label >= 0 and not counted and frame.t_end_us - since_us >= ALARM_US:
                counts[label] += 1
                counted = True
    return FalseLabels(seconds, labelled_s, counts)


def poisson_interval(n: int) -> tuple[float, float]:
    """The 95 % interval of the mean of a Poisson count n, by Byar's approximation."""
    z = Z95
    low = n * (1 - 1 / (9 * n) - z / (3 * math.sqrt(n))) ** 3 if n else 0.0
    high = (n + 1) * (1 - 1 / (9 * (n + 1)) + z / (3 * math.sqrt(n + 1))) ** 3
    return max(low, 0.0), high
