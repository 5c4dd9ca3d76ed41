"""Where a training stands beside the authors' at the same epoch.

One run a side, so the spread is theirs from epoch to epoch, and what the number of samples allows: at epoch e, from the
lowest to the highest of the authors' accuracies of the epochs e-2 .. e+2, each widened by 1.96 sqrt(p (1 - p) / n). n
samples were judged: the test set, in protocol B those held back (the authors' code leaves out the last, smaller batch). Of
unlike runs only the differences are told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from plif_train.commands.paper_rows.conditions import checked_record, conditions_of
from plif_train.commands.paper_rows.logs import AuthorsRun
from runtime.core.model.card import Card

NEIGHBOURS = 2


@dataclass(frozen=True)
class Standing:
    """A training at its last epoch that the authors' log has, too. Accuracies 0..1, tau in time-steps.

    judged       what `accuracy` is measured on: "test", or "validation" in protocol B
    differences  between the runs; where there are any, there is nothing of the authors' below
    taus         layer -> (ours, theirs)
    test         of a whole training by protocol B: the test accuracy of the epoch that was kept, and the authors' after as
                 many epochs
    """

    log: str
    judged: str
    epoch: int
    accuracy: float
    precision: str
    differences: list[str]
    authors: float | None = None
    low: float | None = None
    high: float | None = None
    taus: Mapping[str, tuple[float, float]] | None = None
    test: tuple[float, float] | None = None

    @property
    def verdict(self) -> str:
        """inside or outside the authors' spread, or unlike: the runs are not compared."""
        if self.low is None or self.high is None:
            return "unlike"
        return "inside" if self.low <= self.accuracy <= self.high else "outside"

    @property
    def inside(self) -> bool | None:
        return {"inside": True, "outside": False}.get(self.verdict)

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"inside": self.inside, "verdict": self.verdict}

    @property
    def ours(self) -> str:
        """ "epoch 5: validation 91.75 % in bf16" """
        what = "validation " if self.judged == "validation" else ""
        trained = "" if self.precision == "fp32" else f" in {self.precision}"
        return f"epoch {self.epoch}: {what}{100 * self.accuracy:.2f} %{trained}"

    def lines(self) -> list[str]:
        by_test = []
        if self.test:
            mine, other = (f"{100 * accuracy:.2f} %" for accuracy in self.test)
            by_test.append(f"test, of the epoch that was kept: {mine}, the authors after as many epochs {other}")
        if self.authors is None or self.low is None or self.high is None:
            return [f"{self.ours}: not compared: unlike runs", "differs in " + "; ".join(self.differences), *by_test]
        theirs = f"the authors {100 * self.authors:.2f} %{'' if self.precision == 'fp32' else ' in fp32'}"
        spread = f"{100 * self.low:.2f} - {100 * self.high:.2f}"
        found = [f"{self.ours}, {theirs} (spread {spread}): {self.verdict} the spread", *by_test]
        if self.taus:
            taus = (f"{name} {mine:.2f} ({other:.2f})" for name, (mine, other) in self.taus.items())
            found.append("tau " + ", ".join(taus))
        return found


def standing_of(
    card: Card, epochs: Sequence[Mapping[str, str]], run: AuthorsRun, where: object = "the card"
) -> Standing | None:
    """From the card of a model.pt and the rows of its log, beside this run. None where they share no epoch.

    PlifError, which begins with `where`, for a card with values of another kind.
    """
    conditions = conditions_of(card, epochs, where)
    column, judged = conditions.judged_column, conditions.judged
    ours = {int(row["epoch"]): row for row in epochs if row[column]}
    theirs = run.by_epoch(run.judged)
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return None
    epoch = shared[-1]
    record = checked_record(card, where)
    accuracy, precision = float(ours[epoch][column]), conditions.recipe.precision
    differences, tested = conditions.differences(run.conditions), record.get("test_accuracy")
    test = None
    if judged == "validation" and tested is not None and not differences:
        theirs_tested = run.test_of_best(max(ours))
        test = None if theirs_tested is None else (tested, theirs_tested)
    found = Standing(run.name, judged, epoch, accuracy, precision, differences + run.judged_otherwise, test=test)
    if found.differences:
        return found
    low, high = spread(run, int(np.flatnonzero(run.epoch == epoch)[0]))
    taus = {
        layer: (float(ours[epoch][f"tau:{layer}"]), theirs_at[epoch])
        for layer, theirs_at in ((layer, run.by_epoch(tau)) for layer, tau in run.taus.items())
        if ours[epoch].get(f"tau:{layer}") and epoch in theirs_at
    }
    return replace(found, authors=theirs[epoch], low=low, high=high, taus=taus)


def spread(run: AuthorsRun, at: int) -> tuple[float, float]:
    """The lowest and highest accuracy that pass for the authors' at their row `at`."""
    near = run.judged[max(0, at - NEIGHBOURS) : at + NEIGHBOURS + 1]
    near = near[~np.isnan(near)]
    wide = 1.96 * np.sqrt(near * (1 - near) / run.judged_samples)
    return max(0.0, float((near - wide).min())), min(1.0, float((near + wide).max()))
