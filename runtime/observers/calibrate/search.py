"""The search for a decision rule on a network's recorded outputs: each rule of a grid, margins of classes, a ceiling."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import NamedTuple

import numpy as np

from runtime.core.api import Model
from runtime.core.base.errors import CheckFailed, PlifError
from runtime.core.stream.options import LIVE_RULES
from runtime.native.rules import find_other_class
from runtime.observers.calibrate.labels import (
    FalseLabels,
    FeedOutputs,
    GestureScore,
    count_false_labels,
    decide_labels,
    poisson_interval,
    score_gesture,
)

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
CONTEXT_US = 1_000_000  # of what comes before a gesture
MARGIN_TRIES = 4  # attempts at one margin per class, each with fewer false labels


class Gesture(NamedTuple):
    """A sample that shows a gesture: the network's recorded outputs, the gesture's class and its start time in us.

    Frames before the start are those of a negative, or of another gesture (`follows`); the network ran on from its end.
    """

    steps: FeedOutputs
    label: int
    since_us: int
    follows: bool = False

    def prepend(self, before: FeedOutputs) -> Gesture:
        """Return this gesture sample with the last second of the feed `before` put in front of it."""
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
    labelled is the share of the time without gestures that has a label; missed_next counts those of the missed gestures
    that come right after another one.
    """

    rule: str
    false: np.ndarray
    missed: np.ndarray
    onsets_ms: list[float]
    changes: list[int]
    labelled: float = 0.0
    missed_next: int = 0

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


class RuleSearch:
    """A search, on a network's recorded outputs, for the decision rule that misses fewest gestures."""

    def __init__(
        self,
        model: Model,
        gestures: list[Gesture],
        feeds: list[FeedOutputs],
        per_hour: float,
        share: float | None = None,
    ) -> None:
        self.model, self.gestures, self.feeds = model, gestures, feeds
        self.share = 1.0 if share is None else share  # of the time without gestures that may have a label
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
        found = [self.count_false(rule, outputs, soft) for outputs in self.feeds]
        false, missed = np.zeros(self.classes, np.int64), np.zeros(self.classes, np.int64)
        onsets_ms, changes, missed_next = list[float](), list[int](), 0
        for one in found:
            false += one.counts
        for gesture in self.gestures:
            score = gesture.score(decide_labels(self.model, rule + IDLE, RESET, gesture.steps)[soft])
            missed[gesture.label] += not score.right
            missed_next += gesture.follows and not score.right
            if score.onset_ms is not None:
                onsets_ms.append(score.onset_ms)
                changes.append(score.changes)
        labelled = sum(one.labelled_s for one in found) / max(sum(one.seconds for one in found), 1e-9)
        return RuleScore(rule, false, missed, onsets_ms, changes, labelled, missed_next)

    def count_false(self, rule: str, outputs: FeedOutputs, soft: bool = False) -> FalseLabels:
        """Count the false labels that a rule gives in one feed without gestures."""
        labels = decide_labels(self.model, rule + IDLE, RESET, outputs)[soft]
        return count_false_labels(labels, outputs.frames, self.classes, self.other_class)

    def allows(self, score: RuleScore) -> bool:
        """Return whether a rule keeps both limits: false labels an hour, and the share of time with a label."""
        return bool(score.false.sum() <= self.max_false and score.labelled <= self.share)

    def find_best(self, progress: Callable[[], None]) -> RuleScore:
        """Return the score of the best decision rule; `progress` is called after each.

        Raises CheckFailed if none keeps the allowed rate of false labels and share of time.
        """
        scores: list[RuleScore] = []
        for rule in GRID:
            scores.append(self.score_rule(rule))
            progress()
        allowed = [score for score in scores if self.allows(score)]
        if not allowed and any(score.false.sum() <= self.max_false for score in scores):
            least_share = min(score.labelled for score in scores if score.false.sum() <= self.max_false)
            raise CheckFailed(
                f"no rule keeps --labelled {100 * self.share:g}%: of those that keep {self.per_hour:g} false labels an hour, the "
                f"quietest has a label for {100 * least_share:.3g} % of the time without a gesture; nothing was written"
            )
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
            if self.allows(candidate) and flickers <= best.cost[0] and missed <= few_more:
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
            if self.allows(candidate):
                return candidate if candidate.cost < best.cost else None
        return None


def choose_class_margins(missed: np.ndarray, false: np.ndarray, max_false: int) -> list[int]:
    """Choose a margin (row) for each class: fewest missed gestures in all, with at most `max_false` false labels.

    missed, false  int [rows, classes]: the numbers of each class with that row. Classes are taken as independent.
                   Returns [] if no choice keeps the bound.
    """
    # index: the most false labels so far
    sums, rows = np.zeros(max_false + 1), [list[int]() for _ in range(max_false + 1)]
    for k in range(missed.shape[1]):
        before, chosen = sums, rows
        sums, rows = np.full(max_false + 1, np.inf), [list[int]() for _ in range(max_false + 1)]
        for i in reversed(range(len(missed))):  # the largest margin of equals wins
            for n in range(false[i, k], max_false + 1):
                cost = before[n - false[i, k]] + missed[i, k]
                if cost < sums[n]:
                    sums[n], rows[n] = cost, [*chosen[n - false[i, k]], i]
    return rows[max_false]
