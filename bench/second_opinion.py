"""Whether a second network helps where the first is out of its depth: the greater of both votes, class by class.

    python bench/second_opinion.py gesture-people.onnx gesture-sim.onnx --motions motions.npz

Both networks see the same frames, those of the first; "other" is answered by the first alone. Shown are performers that trained
nothing (--seed), as in bench/people.py: gestures of whole people, cut, near and far, gestures of a bare hand, and people and
hands that mean nothing. Columns: the first network, the second, the pair, and the pair for bare hands with the first network
elsewhere, by what is drawn: a gate that is never wrong, so a real one can only be worse. A row is a limit of false labels a
minute; of all rules of a grid that keep it the one with most right answers counts, for drawn people and for bare hands each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.people import Judged, is_right
from bench.people_shown import CHOSEN_BY, drawn, hands, people
from runtime.datasets.performers.figure import SENSOR
from runtime.observers.calibrate.labels import FeedOutputs, count_false_labels, decide_labels
from runtime.observers.calibrate.search import GRID, IDLE, RESET

LIMITS = (1.0, 2.0, 4.0, 8.0)  # false labels a minute
COLUMNS = ("first", "second", "pair", "pair for bare hands")
PEOPLE, HANDS = "people", "hands"


class Feed(NamedTuple):
    """What both networks gave for one window. right: the class that it shows, None for none; kind: PEOPLE or HANDS."""

    kind: str
    right: int | None
    steps: FeedOutputs
    second: np.ndarray  # float32 [steps, rows, classes]

    def votes(self, column: str, other: int) -> np.ndarray:
        """Return the votes that count in a column of the table, float32 [steps, rows, classes]."""
        if column == "first" or (column == "pair for bare hands" and self.kind == PEOPLE):
            return self.steps.y
        if column == "second":
            return self.second
        second = self.second.copy()
        second[..., other] = 0
        return np.maximum(self.steps.y, second)


def show_all(first: Judged, second: Judged, options: argparse.Namespace) -> Iterator[Feed]:
    """Show both networks everything once, and yield what they gave."""

    def show(kind: str, events: np.ndarray, right: int | None) -> Feed:
        steps = first.step(events, SENSOR)
        return Feed(kind, right, replace(steps, end=None), second.step(events, SENSOR).y)

    for case in drawn(options.performers, SENSOR, seed=options.seed, views=CHOSEN_BY):
        if case.group in {f"drawn, {view}" for view in CHOSEN_BY} and case.right is not None:
            yield show(PEOPLE, case.events, first.model.classes.index(case.right))
    for case in hands(3 * options.performers, SENSOR, options.seed):
        yield show(HANDS, case.events, None if case.right is None else first.model.classes.index(case.right))
    for group, events in people(options.minutes, options.motions, SENSOR, options.seed):
        if not group.startswith(("things", "swings")):
            yield show(PEOPLE, events, None)


def measure(first: Judged, feeds: list[Feed], column: str, rule: str) -> dict[str, tuple[int, float]]:
    """Return of PEOPLE and of HANDS the right answers and the false labels a minute, by one rule."""
    found = {}
    for kind in (PEOPLE, HANDS):
        right, false, minutes = 0, 0, 0.0
        for feed in (one for one in feeds if one.kind == kind):
            steps = replace(feed.steps, y=feed.votes(column, first.other))
            said = decide_labels(first.model, rule, RESET, steps).firm
            if feed.right is not None:
                right += is_right(said, steps, feed.right)
            else:
                labels = count_false_labels(said, steps.frames, len(first.model.classes), first.other)
                false, minutes = false + int(labels.counts.sum()), minutes + labels.seconds / 60
        found[kind] = right, false / minutes
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", nargs=2)
    parser.add_argument("--motions", help="an NPZ of motion capture")
    parser.add_argument("--performers", type=int, default=6)
    parser.add_argument("--minutes", type=float, default=3, help="of each kind of people who mean nothing")
    parser.add_argument("--seed", type=int, default=3737)
    parser.add_argument("--rules", type=int, default=9, help="every so many of the grid")
    options = parser.parse_args()
    first, second = (Judged(artifact, None) for artifact in options.artifacts)
    if first.model.classes != second.model.classes:
        raise SystemExit("expected two networks of the same classes in the same order")
    second.framing = first.framing
    feeds = list(show_all(first, second, options))
    rules = [first.rule, *(rule + IDLE for rule in GRID[:: options.rules])]
    table = {column: [measure(first, feeds, column, rule) for rule in rules] for column in COLUMNS}
    totals = {kind: sum(feed.kind == kind and feed.right is not None for feed in feeds) for kind in (PEOPLE, HANDS)}
    print(json.dumps({"gestures": totals, "limits": [row(table, limit) for limit in LIMITS]}, indent=1))


def row(table: dict[str, list[dict[str, tuple[int, float]]]], limit: float) -> dict[str, object]:
    """Return the most right answers of each column within a limit of false labels a minute, None where no rule keeps it."""
    best: dict[str, object] = {"false_labels_a_minute": limit}
    for kind, kept in ((PEOPLE, (PEOPLE,)), (HANDS, (PEOPLE, HANDS))):
        best[kind] = {
            column: max(
                (found[kind][0] for found in rules if all(found[one][1] <= limit for one in kept)), default=None
            )
            for column, rules in table.items()
        }
    return best


if __name__ == "__main__":
    main()
