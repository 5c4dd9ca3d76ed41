"""Where a training stands beside the authors' at the same epoch.

One run a side, so the spread is theirs from epoch to epoch, and what the size of the test set allows: at epoch e, from the
lowest to the highest of the authors' accuracies of the epochs e-2 .. e+2, each widened by 1.96 sqrt(p (1 - p) / n).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from plif_train.paper.conditions import Conditions, conditions_of
from plif_train.paper.logs import AuthorsRun, nearest
from runtime.model.card import Card

NEIGHBOURS = 2


@dataclass(frozen=True)
class Standing:
    """A training at its last epoch that the authors' log has, too. Accuracies 0..1, tau in time-steps.

    inside       whether `accuracy` lies from `low` to `high`; None where the runs differ in `differences`
    taus         layer -> (ours, theirs)
    """

    log: str
    epoch: int
    accuracy: float
    authors: float
    low: float
    high: float
    taus: dict[str, tuple[float, float]]
    differences: list[str]

    @property
    def inside(self) -> bool | None:
        return None if self.differences else bool(self.low <= self.accuracy <= self.high)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"inside": self.inside}

    def lines(self) -> list[str]:
        verdict = {True: "inside the spread", False: "outside the spread", None: "not compared: unlike runs"}[
            self.inside
        ]
        found = [
            f"epoch {self.epoch}: {100 * self.accuracy:.2f} %, the authors {100 * self.authors:.2f} % "
            f"(spread {100 * self.low:.2f} - {100 * self.high:.2f}): {verdict}"
        ]
        if self.differences:
            found.append("differs in " + "; ".join(self.differences))
        if self.taus:
            found.append(
                "tau " + ", ".join(f"{name} {ours:.2f} ({theirs:.2f})" for name, (ours, theirs) in self.taus.items())
            )
        return found


def standing_of(card: Card, epochs: list[dict[str, str]], run: AuthorsRun | None = None) -> Standing | None:
    """From the card of a model.pt and the rows of its log. None where there is no epoch, or nothing to compare with."""
    conditions = conditions_of(card)
    if run is None:
        found = nearest(conditions)
        if found is None:
            return None
        run = found[0]
    column = "val_accuracy" if conditions.protocol == "B" else "test_accuracy"
    ours = {int(row["epoch"]): row for row in epochs if row[column]}
    shared = sorted(set(ours) & set(run.epoch.tolist()))
    if not shared:
        return None
    epoch = shared[-1]
    at = int(np.searchsorted(run.epoch, epoch))
    low, high = spread(run, conditions, at)
    return Standing(
        run.name, epoch, float(ours[epoch][column]), float(run.judged[at]), low, high,
        _taus(ours[epoch], run.taus[at]), conditions.differences(run.conditions),
    )  # fmt: skip


def spread(run: AuthorsRun, conditions: Conditions, at: int) -> tuple[float, float]:
    """The lowest and highest accuracy that pass for the authors' at their row `at`."""
    near = run.judged[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]
    n = conditions.test_samples or 1
    wide = [1.96 * math.sqrt(max(p * (1 - p), 0.0) / n) for p in near]
    return float((near - wide).min()), float((near + wide).max())


def _taus(row: dict[str, str], theirs: Any) -> dict[str, tuple[float, float]]:
    """Layers with one tau each, in the order of the network; none where the two do not have as many."""
    ours = {
        name[4:]: float(text) for name, text in row.items() if name.startswith("tau:") and ":" not in name[4:] and text
    }
    if len(ours) != len(theirs):
        return {}
    return {
        name: (tau, float(other)) for (name, tau), other in zip(ours.items(), theirs, strict=True) if other == other
    }
