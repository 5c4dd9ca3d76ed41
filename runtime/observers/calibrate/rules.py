"""Calibration of the decision rule for live streams, which goes into the card of a new artifact (key `decide`).

    f        false labels on negatives, which are h hours of recordings without a gesture of the classes
    allowed  a rule with a rate that is surely small: the 95 % interval of f / h ends at or below the given rate
    missed   gestures with a label that was not shown for longer than any other label

A gesture follows one of the negatives, as in a feed: the membranes are those at its end, and the rule has decided
about its last second. Labels shown before are evidence against it, so a rule or network with a long memory is late. A
rule qualifies if it is allowed and its label stays once it is shown (in the median gesture). The calibration takes
the rule that misses fewest, and the quickest of equals. Each class may get a margin of its own: a smaller one if few
fire. Such margins are used only if they miss fewer gestures and the rule as a whole keeps the rate. Of cusum, the sums get
the lowest ceiling that misses at most one gesture in a hundred more, so that labels end soon. Calibrate on
other recordings than those of training or of the final evaluation: the rule is the best of many on these.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.data.dataset import EventSet
from runtime.core.data.recordings import find_recordings
from runtime.core.events import Source, open_source
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Framer
from runtime.core.events.framing import Framing, resolve_framing
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.core.stream.options import LIVE_RULES
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.rules import find_other_class
from runtime.observers.calibrate.labels import (
    FeedOutputs,
    GestureScore,
    count_false_labels,
    decide_labels,
    poisson_interval,
    run_feed,
    score_gesture,
)
from runtime.observers.calibrate.margins import choose_class_margins

LEAK_MARGINS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
CUSUM_MARGINS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.09, 0.13, 0.2, 0.3, 0.5, 1.0)
DRIFTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
MEMORIES = {  # rule without margin -> margins to try
    **{f"{kind}:{tau}ms": LEAK_MARGINS for kind in ("leak", "own") for tau in (50, 80, 120, 200, 300, 400)},
    **{f"cusum:{tau}ms,drift={d:g}": CUSUM_MARGINS for tau in (100, 200, 300, 600) for d in DRIFTS},
}
CEILINGS = (0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5)
GRID = [f"{memory},margin={m:g}" for memory, margins in MEMORIES.items() for m in margins]
IDLE, RESET = ",idle=auto", LIVE_RULES[1]
CONTEXT_US = 1_000_000  # the length of a negative before a gesture
MARGIN_TRIES = 4  # attempts at one margin per class, each with fewer false labels


@dataclass(frozen=True)
class DecideCalibration:
    """The result of a decision-rule calibration; it is stored in the artifact's metadata card under `decide`.

    rule         a value of --decide
    per_hour     allowed false labels an hour;  at_most_per_hour: the bound that was shown
    false_labels, hours    on the negatives;  gestures, missed, onset_p50_ms, onset_p90_ms: on the positives
    soft_false_labels, soft_onset_p50_ms, soft_onset_p90_ms   the same numbers for the soft answer
    data, split, negatives, framing   the calibration data, and how its events became frames
    """

    rule: str
    per_hour: float
    at_most_per_hour: float
    false_labels: int
    hours: float
    gestures: int
    missed: int
    onset_p50_ms: float | None
    onset_p90_ms: float | None
    soft_false_labels: int
    soft_onset_p50_ms: float | None
    soft_onset_p90_ms: float | None
    data: str
    split: str
    negatives: list[str]
    framing: str

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


class Gesture(NamedTuple):
    """A sample that shows a gesture: the network's recorded outputs, the gesture's class and its start time in us.

    Frames before the start are those of a negative; the network ran on from its end.
    """

    steps: FeedOutputs
    label: int
    since_us: int

    def prepend(self, before: FeedOutputs) -> Gesture:
        """Return this gesture sample with the last second of the gesture-free feed `before` put in front of it."""
        end_us, frames = before.frames[-1].t_end_us, self.steps.frames
        first = next(i for i, frame in enumerate(before.frames) if frame.t_end_us > end_us - CONTEXT_US)
        shifted = [copy(frame) for frame in before.frames[first:]]
        for frame in shifted:
            frame.t_start_us += self.since_us - end_us
            frame.t_end_us += self.since_us - end_us
        return self._replace(steps=FeedOutputs([*shifted, *frames], np.concatenate([before.y[first:], self.steps.y])))

    def score(self, labels: np.ndarray) -> GestureScore:
        """Score the labels, int64 [steps], that a rule decided for this gesture sample, from its start to its end."""
        frames = self.steps.frames
        return score_gesture(labels, frames, (self.since_us, frames[-1].t_end_us), self.since_us, self.label)


class RuleScore(NamedTuple):
    """The score of one decision rule: false labels and missed gestures of each class, int64 [classes], label delays.

    onsets_ms and changes are of gestures that got their label: when it came, and how often it changed afterwards.
    """

    rule: str
    false: np.ndarray
    missed: np.ndarray
    onsets_ms: list[float]
    changes: list[int]

    @property
    def onset_ms(self) -> tuple[float | None, float | None]:
        """The median and the 90th percentile of the delays in ms after which gestures got their label."""
        if not self.onsets_ms:
            return None, None
        return round(float(np.percentile(self.onsets_ms, 50)), 1), round(float(np.percentile(self.onsets_ms, 90)), 1)

    @property
    def cost(self) -> tuple[bool, int, float]:
        """The sort key of rule scores, smaller is better: whether labels flicker, missed gestures, mean label delay."""
        flickers = not self.changes or float(np.median(self.changes)) > 0
        return flickers, int(self.missed.sum()), float(np.mean(self.onsets_ms)) if self.onsets_ms else np.inf


def calibrate_decide(
    model: Model,
    data: str,
    per_hour: float,
    negatives: Sequence[str] = (),
    *,
    split: str = "test",
    limit: int | None = None,
    follow: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> DecideCalibration:
    """Find the decision rule that misses fewest gestures of a data set with at most `per_hour` false labels an hour.

    per_hour      the most false labels an hour
    split, limit  of the data set: train or test, and only so many samples
    follow        with two rows, of which the second sees a small figure enlarged
    negatives     recordings, folders of them and simulated sources without a gesture, with numbers as {a..b}; samples
                  of the data set with a class that is none of the gestures are negatives as well

    Raises CheckFailed if no rule can be shown to keep that rate, PlifError if the artifact cannot stream.
    """
    if not 0 < per_hour < 1e6:
        raise PlifError(f"--calibrate-decide {per_hour:g}: expected false labels an hour above 0, e.g. 60")
    framing = resolve_framing(model.card)
    if framing is None or framing.is_offline or model.unrolled:
        raise PlifError(
            f"{model.path}: is no network for feeds (framing {framing}): export the step form with --framing duration:20ms"
        )
    framing = replace(framing, T=None, follow="on" if follow else "off")
    dataset = DatasetSplit(data, split).open(model)
    if not isinstance(dataset, EventSet):
        raise PlifError(f"{data}: holds images, and a feed has events")
    labels = [dataset.label(i) for i in range(len(dataset) if limit is None else min(limit, len(dataset)))]
    other_class, sources = find_other_class(model.classes), [_open_negative(spec) for spec in expand_specs(negatives)]
    gestures: list[Gesture] = []
    silent_feeds: list[FeedOutputs] = []
    total = len(labels) + len(sources) + len(GRID)

    def advance(position: int) -> None:
        if progress:
            progress(position, total)

    for position, source in enumerate(sources, 1):
        silent_feeds.append(run_feed(model, SourceFramer(source, framing, model.input_shape), RESET))
        advance(position)
    silent_feeds = [feed for feed in silent_feeds if feed.frames]
    negatives_first = sorted(range(len(labels)), key=lambda i: labels[i] != other_class)
    for position, i in enumerate(negatives_first, len(sources) + 1):
        label = labels[i]
        before = silent_feeds[len(gestures) % len(silent_feeds)] if silent_feeds and label != other_class else None
        shown = _run_sample(model, framing, dataset, i, before)
        if shown.frames and label == other_class:
            silent_feeds.append(shown)
        elif shown.frames and label is not None:
            gesture = Gesture(shown, label, shown.frames[0].t_start_us)
            gestures.append(gesture if before is None else gesture.prepend(before))
        advance(position)
    search = _RuleSearch(model, gestures, silent_feeds, per_hour)
    search.require_enough(data)
    best = search.find_best(lambda position: advance(total - len(GRID) + position))
    soft = search.score_rule(best.rule, soft=True)
    return DecideCalibration(
        best.rule + IDLE,
        per_hour,
        round(poisson_interval(int(best.false.sum()))[1] / search.hours, 3),
        int(best.false.sum()),
        round(search.hours, 5),
        len(gestures),
        int(best.missed.sum()),
        best.onset_ms[0],
        best.onset_ms[1],
        int(soft.false.sum()),
        soft.onset_ms[0],
        soft.onset_ms[1],
        data,
        split,
        list(negatives),
        str(framing),
    )


class _RuleSearch:
    """A search, on a network's recorded outputs, for the decision rule that misses fewest gestures."""

    def __init__(self, model: Model, gestures: list[Gesture], feeds: list[FeedOutputs], per_hour: float) -> None:
        self.model, self.gestures, self.feeds = model, gestures, feeds
        self.classes, self.other_class = len(model.classes), find_other_class(model.classes)
        self.hours = sum(frame.t_end_us - frame.t_start_us for outputs in feeds for frame in outputs.frames) / 3.6e9
        self.max_false, self.per_hour = -1, per_hour  # the most false labels that still show the rate
        while self.hours and poisson_interval(self.max_false + 1)[1] <= per_hour * self.hours:
            self.max_false += 1

    def require_enough(self, data: str) -> None:
        """Refuse calibration data with no gesture, or with too little gesture-free time to show the false-label rate."""
        if not self.gestures:
            raise PlifError(f"{data}: there is no gesture of the classes in it; expected held-out ones")
        if self.max_false < 0:
            raise CheckFailed(
                f"{data}: {60 * self.hours:.3g} minutes without a gesture cannot show {self.per_hour:g} false labels an hour, "
                f"even if there is none; expected {60 * poisson_interval(0)[1] / self.per_hour:.3g} minutes: --negatives"
            )

    def score_rule(self, rule: str, soft: bool = False) -> RuleScore:
        """Score a decision rule on all gestures and gesture-free feeds, by its final or (`soft`) provisional answers."""
        false, missed = np.zeros(self.classes, np.int64), np.zeros(self.classes, np.int64)
        onsets_ms, changes = list[float](), list[int]()
        for outputs in self.feeds:
            labels = decide_labels(self.model, rule + IDLE, RESET, outputs)[soft]
            false += count_false_labels(labels, outputs.frames, self.classes, self.other_class).counts
        for gesture in self.gestures:
            score = gesture.score(decide_labels(self.model, rule + IDLE, RESET, gesture.steps)[soft])
            missed[gesture.label] += not score.right
            if score.onset_ms is not None:
                onsets_ms.append(score.onset_ms)
                changes.append(score.changes)
        return RuleScore(rule, false, missed, onsets_ms, changes)

    def find_best(self, progress: Callable[[int], None]) -> RuleScore:
        """Return the score of the best decision rule. Raises CheckFailed if none keeps the allowed false-label rate."""
        scores: list[RuleScore] = []
        for position, rule in enumerate(GRID):
            scores.append(self.score_rule(rule))
            progress(position + 1)
        allowed = [score for score in scores if score.false.sum() <= self.max_false]
        if not allowed:
            least = min(int(score.false.sum()) for score in scores)
            raise CheckFailed(
                f"no rule keeps {self.per_hour:g} false labels an hour: the quietest of {len(GRID)} says {least} in "
                f"{60 * self.hours:.3g} minutes, and at most {self.max_false} would show it; nothing was written"
            )
        best = min(allowed, key=lambda score: score.cost)
        by_memory: dict[str, list[RuleScore]] = {}
        for score in scores:
            by_memory.setdefault(score.rule.rpartition(",margin=")[0], []).append(score)
        for memory, rows in by_memory.items():
            candidate = self._try_class_margins(memory, rows, best)
            best = best if candidate is None else candidate
        return self._lower_ceiling(best)

    def _lower_ceiling(self, best: RuleScore) -> RuleScore:
        """Score a rule of cusum with lower ceilings; return the lowest that misses 1 % more at most, or the rule itself."""
        for most in CEILINGS if best.rule.startswith("cusum") else ():
            candidate = self.score_rule(f"{best.rule},most={most:g}")
            flickers, missed, _ = candidate.cost
            few_more = best.cost[1] + len(self.gestures) // 100
            if candidate.false.sum() <= self.max_false and flickers <= best.cost[0] and missed <= few_more:
                return candidate
        return best

    def _try_class_margins(self, memory: str, rows: list[RuleScore], best: RuleScore) -> RuleScore | None:
        """Score a decision rule with a separate margin for each class; return None if it is not better than `best`."""
        for bound in range(self.max_false, max(self.max_false - MARGIN_TRIES, -1), -1):
            choice = choose_class_margins(
                np.array([row.missed for row in rows]), np.array([row.false for row in rows]), bound
            )
            if not choice:
                break
            candidate = self.score_rule(f"{memory},margin=" + "/".join(f"{MEMORIES[memory][i]:g}" for i in choice))
            if candidate.false.sum() <= self.max_false:
                return candidate if candidate.cost < best.cost else None
        return None


def expand_specs(specs: Iterable[str]) -> Iterator[str]:
    """Yield source specs: a folder gives its recordings, "seed={3..5}" gives "seed=3", "seed=4" and "seed=5"."""
    for spec in specs:
        match = re.search(r"\{(\d+)\.\.(\d+)\}", spec)
        if match:
            yield from (spec.replace(match[0], str(n)) for n in range(int(match[1]), int(match[2]) + 1))
        elif Path(spec).is_dir():
            yield from find_recordings([spec])
        else:
            yield spec


def _open_negative(spec: str) -> Source:
    """Open a source that shows no gestures (a negative). Raises PlifError if it is endless, or cannot be opened."""
    source = open_source(spec)
    if source.live:
        source.close()
        raise PlifError(f"--negatives {spec}: has no end; expected recordings, and sim:NAME?seconds=..")
    return source


def _run_sample(model: Model, framing: Framing, dataset: EventSet, i: int, before: FeedOutputs | None) -> FeedOutputs:
    """Run the network over a sample from the end state of `before`; an unreadable sample gives no outputs."""
    try:
        recording = dataset.load_recording(i)
    except PlifError:
        return FeedOutputs([], np.zeros(0))
    framer = Framer(framing, model.input_shape, recording.sensor, None, recording.upright)
    return run_feed(model, iterate_frames(framer, recording.events), RESET, before=before)


def iterate_frames(framer: Framer, events: np.ndarray) -> Iterator[Frame]:
    """Yield all frames that a recording's events [N] give, the last ones included."""
    yield from framer.iter_frames(events)
    yield from framer.iter_last_frames()
