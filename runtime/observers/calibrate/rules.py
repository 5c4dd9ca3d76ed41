"""Finds the rule by which a network's labels are said live, and writes it into the card of a new artifact (key `decide`).

    f       false labels on negatives, recordings in which there is no gesture of the classes, in h hours
    kept    a rule whose rate is surely small: the upper end of the 95 % interval of f / h is at most the rate that was asked for
    missed  gestures whose label was not shown for longer than any other

A gesture comes after one of the negatives, as in a feed: the membranes are those at its end, and the rule has decided about its
last second. What was shown before is evidence against it; what remembers long, a rule or a network, is late. Of the rules that
are kept, and whose label stays once it is said (in the median gesture), the one that misses fewest is taken, of equals the
quickest. Each class may get a margin of its own: where few fire, a smaller one. It stays only where it misses fewer, and where
the rule as a whole was seen to keep the rate. Calibrate on other recordings than those that trained the network or will judge
it: the rule is the best of many on these.
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
from runtime.core.events.framing import Framing, framing_of
from runtime.core.measure.evaluate.samples import SplitOf
from runtime.core.stream.options import LIVE_RULES
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.rules import find_other
from runtime.observers.calibrate.labels import Heard, Outputs, false_labels, hear, poisson_interval, say, step_all

OF_LEAK = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
OF_CUSUM = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.09, 0.13, 0.2, 0.3, 0.5, 1.0)
DRIFTS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
MEMORIES = {  # and the margins that are tried with each
    **{f"{kind}:{tau}ms": OF_LEAK for kind in ("leak", "own") for tau in (50, 80, 120, 200, 300, 400)},
    **{f"cusum:{tau}ms,drift={d:g}": OF_CUSUM for tau in (100, 200, 300, 600) for d in DRIFTS},
}
GRID = [f"{memory},margin={m:g}" for memory, margins in MEMORIES.items() for m in margins]
IDLE, RESET = ",idle=auto", LIVE_RULES[1]
CONTEXT_US = 1_000_000  # of a negative before a gesture
TRIES = 4  # of margins for each class, with ever fewer false labels


@dataclass(frozen=True)
class DecideCalibration:
    """The card's key `decide`.

    rule         as --decide takes it
    per_hour     false labels an hour that were allowed;  at_most_per_hour: the bound that was shown
    false_labels, hours    on the negatives;  gestures, missed: on the positives;  onset_p50_ms, onset_p90_ms: of their labels
    soft_false_labels, soft_onset_p50_ms, soft_onset_p90_ms   the same of the soft answer
    data, split, negatives, framing   what it was found on, and how that became frames
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
    """A positive, its class, and when it begins: what is before comes from a negative, whose end it was stepped from."""

    steps: Outputs
    label: int
    since_us: int

    def after(self, before: Outputs) -> Gesture:
        """The same after the last second of `before`."""
        end_us, mine = before.frames[-1].t_end_us, self.steps.frames
        first = next(i for i, frame in enumerate(before.frames) if frame.t_end_us > end_us - CONTEXT_US)
        moved = [copy(frame) for frame in before.frames[first:]]
        for frame in moved:
            frame.t_start_us += self.since_us - end_us
            frame.t_end_us += self.since_us - end_us
        return self._replace(steps=Outputs([*moved, *mine], np.concatenate([before.y[first:], self.steps.y])))

    def heard(self, said: np.ndarray) -> Heard:
        """What was said of it, int64 [steps], from its begin to its end."""
        frames = self.steps.frames
        return hear(said, frames, (self.since_us, frames[-1].t_end_us), self.since_us, self.label)


class Tried(NamedTuple):
    """What a rule did: false labels and misses of each class, int64 [classes]; of gestures whose label was said, when that was in
    ms, and how often it changed from then on."""

    rule: str
    false: np.ndarray
    missed: np.ndarray
    onsets_ms: list[float]
    changes: list[int]

    @property
    def onset_ms(self) -> tuple[float | None, float | None]:
        """Its median, and below which nine of ten are."""
        if not self.onsets_ms:
            return None, None
        return round(float(np.percentile(self.onsets_ms, 50)), 1), round(float(np.percentile(self.onsets_ms, 90)), 1)

    @property
    def cost(self) -> tuple[bool, int, float]:
        """A label that comes and goes is no label, however short each is."""
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
    progress: Callable[[int, int], None] | None = None,
) -> DecideCalibration:
    """The rule that misses fewest gestures of `NAME:DIR` with at most so many false labels an hour.

    split, limit  of the data set: train or test, and only the first so many samples
    negatives  recordings, folders of them and simulated sources without a gesture, which may count as {a..b}; samples of the data
               set whose class means none of the others are negatives, too
    Raises CheckFailed where no rule can be shown to keep that rate, PlifError where the artifact cannot stream.
    """
    if not 0 < per_hour < 1e6:
        raise PlifError(f"--calibrate-decide {per_hour:g}: expected false labels an hour above 0, e.g. 60")
    framing = framing_of(model.card)
    if framing is None or framing.whole or model.unrolled:
        raise PlifError(
            f"{model.path}: is no network for feeds (framing {framing}): export the step form with --framing duration:20ms"
        )
    framing = replace(framing, T=None)
    dataset = SplitOf(data, split).open(model)
    if not isinstance(dataset, EventSet):
        raise PlifError(f"{data}: holds images, and a feed has events")
    labels = [dataset.label(i) for i in range(len(dataset) if limit is None else min(limit, len(dataset)))]
    other, sources = find_other(model.classes), [_recorded(spec) for spec in all_of(negatives)]
    gestures: list[Gesture] = []
    without: list[Outputs] = []
    total = len(labels) + len(sources) + len(GRID)

    def advance(done: int) -> None:
        if progress:
            progress(done, total)

    for done, source in enumerate(sources, 1):
        without.append(step_all(model, SourceFramer(source, framing, model.input_shape), RESET))
        advance(done)
    without = [one for one in without if one.frames]
    negatives_first = sorted(range(len(labels)), key=lambda i: labels[i] != other)
    for done, i in enumerate(negatives_first, len(sources) + 1):
        label = labels[i]
        before = without[len(gestures) % len(without)] if without and label != other else None
        shown = _stepped(model, framing, dataset, i, before)
        if shown.frames and label == other:
            without.append(shown)
        elif shown.frames and label is not None:
            one = Gesture(shown, label, shown.frames[0].t_start_us)
            gestures.append(one if before is None else one.after(before))
        advance(done)
    found = _Trial(model, gestures, without, per_hour)
    found.require_enough(data)
    best = found.best(lambda done: advance(total - len(GRID) + done))
    soft = found.run(best.rule, soft=True)
    return DecideCalibration(
        best.rule + IDLE,
        per_hour,
        round(poisson_interval(int(best.false.sum()))[1] / found.hours, 3),
        int(best.false.sum()),
        round(found.hours, 5),
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


class _Trial:
    """Rules on stored outputs."""

    def __init__(self, model: Model, gestures: list[Gesture], without: list[Outputs], per_hour: float) -> None:
        self.model, self.gestures, self.without = model, gestures, without
        self.classes, self.other = len(model.classes), find_other(model.classes)
        self.hours = sum(f.t_end_us - f.t_start_us for one in without for f in one.frames) / 3.6e9
        self.most, self.per_hour = -1, per_hour  # false labels that show the rate
        while self.hours and poisson_interval(self.most + 1)[1] <= per_hour * self.hours:
            self.most += 1

    def require_enough(self, data: str) -> None:
        """Refuses data by which nothing can be shown."""
        if not self.gestures:
            raise PlifError(f"{data}: there is no gesture of the classes in it; expected held-out ones")
        if self.most < 0:
            raise CheckFailed(
                f"{data}: {60 * self.hours:.3g} minutes without a gesture cannot show {self.per_hour:g} false labels an hour, "
                f"even if there is none; expected {60 * poisson_interval(0)[1] / self.per_hour:.3g} minutes: --negatives"
            )

    def run(self, rule: str, soft: bool = False) -> Tried:
        """What a rule does, by its firm answer or by its soft one."""
        false, missed = np.zeros(self.classes, np.int64), np.zeros(self.classes, np.int64)
        onsets_ms, changes = list[float](), list[int]()
        for one in self.without:
            said = say(self.model, rule + IDLE, RESET, one)[soft]
            false += false_labels(said, one.frames, self.classes, self.other).counts
        for gesture in self.gestures:
            heard = gesture.heard(say(self.model, rule + IDLE, RESET, gesture.steps)[soft])
            missed[gesture.label] += not heard.right
            if heard.onset_ms is not None:
                onsets_ms.append(heard.onset_ms)
                changes.append(heard.changes)
        return Tried(rule, false, missed, onsets_ms, changes)

    def best(self, progress: Callable[[int], None]) -> Tried:
        """Raises CheckFailed where no rule keeps the rate."""
        tried: list[Tried] = []
        for done, rule in enumerate(GRID):
            tried.append(self.run(rule))
            progress(done + 1)
        kept = [one for one in tried if one.false.sum() <= self.most]
        if not kept:
            least = min(int(one.false.sum()) for one in tried)
            raise CheckFailed(
                f"no rule keeps {self.per_hour:g} false labels an hour: the quietest of {len(GRID)} says {least} in "
                f"{60 * self.hours:.3g} minutes, and at most {self.most} would show it; nothing was written"
            )
        best = min(kept, key=lambda one: one.cost)
        by_memory: dict[str, list[Tried]] = {}
        for one in tried:
            by_memory.setdefault(one.rule.rpartition(",margin=")[0], []).append(one)
        for memory, rows in by_memory.items():
            own = self._margins(memory, rows, best)
            best = best if own is None else own
        return best

    def _margins(self, memory: str, rows: list[Tried], best: Tried) -> Tried | None:
        """A margin for each class; None where that is not seen to miss fewer than `best` does."""
        for most in range(self.most, max(self.most - TRIES, -1), -1):
            each = cheapest(np.array([one.missed for one in rows]), np.array([one.false for one in rows]), most)
            if not each:
                break
            found = self.run(f"{memory},margin=" + "/".join(f"{MEMORIES[memory][i]:g}" for i in each))
            if found.false.sum() <= self.most:
                return found if found.cost < best.cost else None
        return None


def cheapest(missed: np.ndarray, false: np.ndarray, most: int) -> list[int]:
    """Which row to take for each class, so that least is missed and at most `most` is false; none where no rows do that.

    missed, false  int [rows, classes]: what each class would do by that row. A class is taken to be independent of the others
    """
    sums, rows = np.zeros(most + 1), [list[int]() for _ in range(most + 1)]  # by how many are false so far, at most
    for one in range(missed.shape[1]):
        before, then = sums, rows
        sums, rows = np.full(most + 1, np.inf), [list[int]() for _ in range(most + 1)]
        for i in reversed(range(len(missed))):  # of equals the largest margin
            for n in range(false[i, one], most + 1):
                cost = before[n - false[i, one]] + missed[i, one]
                if cost < sums[n]:
                    sums[n], rows[n] = cost, [*then[n - false[i, one]], i]
    return rows[most]


def all_of(specs: Iterable[str]) -> Iterator[str]:
    """Folders become their recordings, and "seed={3..5}" becomes "seed=3", "seed=4", "seed=5"."""
    for spec in specs:
        match = re.search(r"\{(\d+)\.\.(\d+)\}", spec)
        if match:
            yield from (spec.replace(match[0], str(n)) for n in range(int(match[1]), int(match[2]) + 1))
        elif Path(spec).is_dir():
            yield from find_recordings([spec])
        else:
            yield spec


def _recorded(spec: str) -> Source:
    """One of the negatives; asked before minutes are spent. Raises PlifError where it has no end, or is none."""
    source = open_source(spec)
    if source.live:
        source.close()
        raise PlifError(f"--negatives {spec}: has no end; expected recordings, and sim:NAME?seconds=..")
    return source


def _stepped(model: Model, framing: Framing, dataset: EventSet, i: int, before: Outputs | None) -> Outputs:
    """A sample after `before`; one that cannot be read has no frames, as evaluation leaves it out."""
    try:
        one = dataset.recorded(i)
    except PlifError:
        return Outputs([], np.zeros(0))
    framer = Framer(framing, model.input_shape, one.sensor, None, one.upright)
    return step_all(model, every_frame(framer, one.events), RESET, before=before)


def every_frame(framer: Framer, events: np.ndarray) -> Iterator[Frame]:
    """All frames of a recording of events [N]."""
    yield from framer.frames(events)
    yield from framer.closing()
