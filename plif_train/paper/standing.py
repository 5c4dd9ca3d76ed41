"""Where a training stands beside the authors' at the same epoch.

One run a side, so the spread is theirs from epoch to epoch, and what the number of samples allows: at epoch e, from the
lowest to the highest of the authors' accuracies of the epochs e-2 .. e+2, each widened by 1.96 sqrt(p (1 - p) / n). n
samples were judged: the test set, in protocol B those held back. Of unlike runs only the differences are told.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from plif_train.paper.conditions import conditions_of, record_of
from plif_train.paper.logs import AuthorsRun, nearest
from runtime.model.card import Card

NEIGHBOURS = 2


@dataclass(frozen=True)
class Standing:
    """A training at its last epoch that the authors' log has, too. Accuracies 0..1, tau in time-steps.

    differences  between the runs; where there are any, there is nothing of the authors' below
    taus         layer -> (ours, theirs)
    """

    log: str
    epoch: int
    accuracy: float
    precision: str
    differences: list[str]
    authors: float | None = None
    low: float | None = None
    high: float | None = None
    taus: Mapping[str, tuple[float, float]] | None = None

    @property
    def verdict(self) -> str:
        """inside or outside the authors' spread, or unlike: the runs are not compared."""
        if self.low is None or self.high is None:
            return "unlike"
        return "inside" if self.low <= self.accuracy <= self.high else "outside"

    @property
    def inside(self) -> bool | None:
        return {"inside": True, "outside": False}.get(self.verdict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"inside": self.inside, "verdict": self.verdict}

    def lines(self) -> list[str]:
        ours = f"epoch {self.epoch}: {100 * self.accuracy:.2f} %"
        if self.authors is None or self.low is None or self.high is None:
            return [f"{ours}: not compared: unlike runs", "differs in " + "; ".join(self.differences)]
        trained = "" if self.precision == "fp32" else f" in {self.precision}"
        theirs = f"the authors {100 * self.authors:.2f} %{' in fp32' if trained else ''}"
        spread = f"{100 * self.low:.2f} - {100 * self.high:.2f}"
        found = [f"{ours}{trained}, {theirs} (spread {spread}): {self.verdict} the spread"]
        if self.taus:
            taus = (f"{name} {mine:.2f} ({other:.2f})" for name, (mine, other) in self.taus.items())
            found.append("tau " + ", ".join(taus))
        return found


def standing_of(
    card: Card, epochs: Sequence[Mapping[str, str]], run: AuthorsRun | None = None, where: object = "the card"
) -> Standing | None:
    """From the card of a model.pt and the rows of its log. None where there is no epoch, or nothing to compare with.

    PlifError, which begins with `where`, for a card with values of another kind.
    """
    conditions = conditions_of(card, epochs, where)
    if run is None:
        found = nearest(conditions)
        if found is None:
            return None
        run = found[0]
    column = "val_accuracy" if conditions.protocol == "B" else "test_accuracy"
    ours = {int(row["epoch"]): row for row in epochs if row[column]}
    theirs = {int(epoch): at for at, epoch in enumerate(run.epoch) if not math.isnan(run.judged[at])}
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return None
    epoch = shared[-1]
    accuracy, precision = float(ours[epoch][column]), record_of(card, where).get("precision") or "fp32"
    differences = conditions.differences(run.conditions) + run.judged_otherwise
    if differences:
        return Standing(run.name, epoch, accuracy, precision, differences)
    at = theirs[epoch]
    low, high = spread(run, at)
    taus = {
        layer: (float(ours[epoch][f"tau:{layer}"]), float(tau[at]))
        for layer, tau in run.taus.items()
        if ours[epoch].get(f"tau:{layer}") and not math.isnan(tau[at])
    }
    return Standing(run.name, epoch, accuracy, precision, [], float(run.judged[at]), low, high, taus)


def spread(run: AuthorsRun, at: int) -> tuple[float, float]:
    """The lowest and highest accuracy that pass for the authors' at their row `at`."""
    near = run.judged[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]
    near = near[~np.isnan(near)]
    wide = 1.96 * np.sqrt(near * (1 - near) / run.judged_samples)
    return max(0.0, float((near - wide).min())), min(1.0, float((near + wide).max()))
