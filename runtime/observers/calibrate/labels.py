"""Labels over time: the labels that a decision rule gives for recorded outputs, and their scores.

A network runs once over a feed. Then any number of rules decide about its outputs, by the code that decides in a
stream.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice, pairwise
from typing import NamedTuple

import numpy as np

from runtime.core.base.latency import Z95
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session, Snapshot
from runtime.core.events.frame import Frame
from runtime.core.stream.decide import Rules
from runtime.native.interface import FOLLOWED, GAP

ALARM_US = 50_000  # a shorter label does not count
FOLLOWING = "duration:20ms,follow=on"  # of rules, whose rows are two then
Span = tuple[int, int]  # from, to, in us


@dataclass(frozen=True, eq=False)
class FeedOutputs:
    """The recorded outputs of a network over one feed of frames: y [steps, rows, classes], and its end state.

    With a view that follows a small figure there are two rows, and frames say whether the view's votes count.

    The frames are kept without pixels. The end state is a snapshot of the membranes.
    """

    frames: list[Frame]
    y: np.ndarray
    end: Snapshot | None = None

    @cached_property
    def frame_facts(self) -> np.ndarray:
        """The facts about each frame for decision rules, int64 [steps, 4]: start and end in us, event count, gap flag."""
        rows = [(frame.t_start_us, frame.t_end_us, frame.events, flags_of(frame)) for frame in self.frames]
        return np.array(rows, np.int64).reshape(-1, 4)


class Labels(NamedTuple):
    """The final (firm) and provisional (soft) class indices after each step, int64 [steps], negative for no label."""

    firm: np.ndarray
    soft: np.ndarray


class GestureScore(NamedTuple):
    """The score of one gesture: the delay of its label, the label changes after that, and whether it was right.

    onset_ms is when its label came (ms, None for never), end_ms when it was gone after the end of the gesture (None if
    another one, or none, was shown then). It is right if no other label was shown for as long, and it was shown for
    half of the time after it came.
    """

    onset_ms: float | None
    changes: int
    right: bool
    end_ms: float | None = None


class FalseLabels(NamedTuple):
    """The false labels in a time without gestures: seconds in all, seconds with a label, counts int64 [classes]."""

    seconds: float
    labelled_s: float
    counts: np.ndarray


def flags_of(frame: Frame) -> int:
    return frame.discontinuity * GAP | frame.followed * FOLLOWED


def make_rules(model: OpenModel, decide: str, reset: str, frames: Sequence[Frame]) -> Rules:
    """Make the rules that decide about a feed of frames, of which the first says whether there is a view that follows."""
    framing = FOLLOWING if frames and frames[0].window is not None else None
    return Rules(model.classes, model.voters, model.T, decide, reset, framing)


def run_feed(
    model: OpenModel,
    frames: Iterable[Frame],
    reset: str = "never",
    decide: str = "sum",
    before: FeedOutputs | None = None,
) -> FeedOutputs:
    """Run the network once over a whole feed of frames, with the resets that a rule asks for; return its outputs.

    `before` gives the membranes to start from: those at its end.
    """
    coming = iter(frames)
    ahead = list(islice(coming, 1))
    rules, stepped, outputs = make_rules(model, decide, reset, ahead), [], []
    session, rows = Session(model, rules.rows), list(range(rules.rows))
    if before is not None and before.end is not None:
        session.restore(before.end)
    for frame in chain(ahead, coming):
        rules.apply_resets(frame, flags_of(frame), session, rows)
        x = np.stack([frame.x] * rules.rows) if frame.pictures is None else frame.pictures
        outputs.append(y := session.step(x, counted=True))
        rules.after_step(y)
        frame.x, frame.newest, frame.pictures = (
            np.zeros(0, np.float32),
            None,
            None,
        )  # an hour's would take too much memory
        stepped.append(frame)
    return FeedOutputs(stepped, np.array(outputs).reshape(-1, rules.rows, len(rules.classes)), session.snapshot())


def decide_labels(model: OpenModel, decide: str, reset: str, outputs: FeedOutputs) -> Labels:
    """Return the final (firm) and provisional (soft) labels that a decision rule gives for recorded outputs."""
    rules = make_rules(model, decide, reset, outputs.frames)
    return Labels(*rules.decide_stored(outputs.frame_facts, outputs.y).T)


def score_gesture(labels: np.ndarray, frames: Sequence[Frame], span: Span, since_us: int, label: int) -> GestureScore:
    """Score one gesture of class `label` within the time `span`, from the labels int64 [steps] that a rule decided.

    Its label may be expected from since_us on.
    """
    t_us = np.array([frame.t_end_us for frame in frames])
    first, end = (int(np.searchsorted(t_us, t, "right")) for t in span)
    shown, lasts_us = labels[first:end].tolist(), measure_steps(frames)[first:end]
    if label not in shown:
        return GestureScore(None, 0, False)
    onset = shown.index(label)
    onset_ms = max(int(t_us[first + onset]) - since_us, 0) / 1e3
    own_us = int(lasts_us[np.array(shown) == label].sum())
    right = longest_label(shown, lasts_us) == label and 2 * own_us >= int(lasts_us[onset:].sum())
    end_ms = None
    if shown[-1] == label:
        gone = np.flatnonzero(labels[end:] != label)
        end_ms = (int(t_us[end + gone[0]] if len(gone) else t_us[-1]) - span[1]) / 1e3
    return GestureScore(onset_ms, sum(a != b for a, b in pairwise(shown[onset:])), right, end_ms)


def measure_steps(frames: Sequence[Frame]) -> np.ndarray:
    """Return how long each step of a feed lasts, in us, int64 [steps]: since the end of the step before it."""
    return np.diff([*(frame.t_start_us for frame in frames[:1]), *(frame.t_end_us for frame in frames)])


def longest_label(labels: Iterable[int], lasts_us: Iterable[int]) -> int | None:
    """Return the class that was the answer for the longest time, or None if there was no answer at any time.

    labels are the classes after each step, negative for none; lasts_us are the durations of the steps.
    """
    durations: dict[int, int] = {}
    for label, lasts in zip(labels, lasts_us, strict=True):
        if label >= 0:
            durations[label] = durations.get(label, 0) + int(lasts)
    return max(durations, key=lambda label: durations[label]) if durations else None


def count_false_labels(
    labels: np.ndarray,
    frames: Sequence[Frame],
    classes: int,
    other_class: int | None,
    spans: Sequence[Span] | None = None,
) -> FalseLabels:
    """Count the false labels of a feed: periods of one label, at least ALARM_US long, in the gesture-free `spans`.

    labels is int64 [steps]. The class `other_class` is not a false label. spans None means the whole feed.
    """
    seconds = labelled_s = 0.0
    counts, span, label, since_us, counted = np.zeros(classes, np.int64), 0, -1, 0, True
    for index, frame in zip(labels.tolist(), frames, strict=True):
        inside = True
        if spans is not None:
            while span < len(spans) and spans[span][1] <= frame.t_start_us:
                span += 1
            inside = span < len(spans) and spans[span][0] <= frame.t_start_us
        current = -1 if index == other_class else max(index, -1)
        if current != label:
            label, since_us, counted = current, frame.t_start_us, False
        if inside:
            lasted_s = (frame.t_end_us - frame.t_start_us) / 1e6
            seconds, labelled_s = seconds + lasted_s, labelled_s + lasted_s * (label >= 0)
            if label >= 0 and not counted and frame.t_end_us - since_us >= ALARM_US:
                counts[label] += 1
                counted = True
    return FalseLabels(seconds, labelled_s, counts)


def poisson_interval(n: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean of a Poisson count n, by Byar's approximation."""
    z = Z95
    low = n * (1 - 1 / (9 * n) - z / (3 * math.sqrt(n))) ** 3 if n else 0.0
    high = (n + 1) * (1 - 1 / (9 * (n + 1)) + z / (3 * math.sqrt(n + 1))) ** 3
    return max(low, 0.0), high
