"""Comparison of a training with the authors' run at the same epoch.

There is one run a side, so the spread is theirs from epoch to epoch, widened for the number of samples. At epoch e it
goes from the lowest to the highest of the authors' accuracies of the epochs e-2 .. e+2, each widened by 1.96
sqrt(p(1-p)/n). n samples were judged: the test set, in protocol B those held back (the authors' code leaves out the
last, smaller batch). For unlike runs only the differences are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from plif_train.commands.paper_rows.conditions import check_record, read_conditions
from plif_train.commands.paper_rows.logs import AuthorsRun
from runtime.core.model.card import Card

NEIGHBOURS = 2


@dataclass(frozen=True)
class AuthorsComparison:
    """The comparison of our training with the PLIF paper's authors' run, at the last epoch that both logs have.

    Accuracies are 0..1, tau in time-steps.

    judged         the split of `accuracy`: "test", or "validation" in protocol B
    differences    between the runs; if there are any, the authors' values below are None
    taus           layer -> (ours, theirs)
    test           of a complete training by protocol B: the test accuracy of the epoch that was kept, and the authors'
                   after as many epochs
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
        """The verdict on our training: inside or outside the spread of the PLIF paper's authors' accuracy, or unlike."""
        if self.low is None or self.high is None:
            return "unlike"
        return "inside" if self.low <= self.accuracy <= self.high else "outside"

    @property
    def inside(self) -> bool | None:
        return {"inside": True, "outside": False}.get(self.verdict)

    def as_json(self) -> dict[str, object]:
        return asdict(self) | {"inside": self.inside, "verdict": self.verdict}

    @property
    def our_result(self) -> str:
        """The accuracy that our training reached, described in words: "epoch 5: validation 91.75 % in bf16"."""
        split = "validation " if self.judged == "validation" else ""
        trained = "" if self.precision == "fp32" else f" in {self.precision}"
        return f"epoch {self.epoch}: {split}{100 * self.accuracy:.2f} %{trained}"

    def lines(self) -> list[str]:
        by_test = []
        if self.test:
            mine, authors_accuracy = (f"{100 * accuracy:.2f} %" for accuracy in self.test)
            by_test.append(
                f"test, of the epoch that was kept: {mine}, the authors after as many epochs {authors_accuracy}"
            )
        if self.authors is None or self.low is None or self.high is None:
            return [
                f"{self.our_result}: not compared: unlike runs",
                "differs in " + "; ".join(self.differences),
                *by_test,
            ]
        theirs = f"the authors {100 * self.authors:.2f} %{'' if self.precision == 'fp32' else ' in fp32'}"
        spread = f"{100 * self.low:.2f} - {100 * self.high:.2f}"
        text_lines = [f"{self.our_result}, {theirs} (spread {spread}): {self.verdict} the spread", *by_test]
        if self.taus:
            taus = (
                f"{name} {mine:.2f} ({authors_accuracy:.2f})" for name, (mine, authors_accuracy) in self.taus.items()
            )
            text_lines.append("tau " + ", ".join(taus))
        return text_lines


def compare_with_authors(
    card: Card, epochs: Sequence[Mapping[str, str]], run: AuthorsRun, context: object = "the card"
) -> AuthorsComparison | None:
    """Compare our training with a run of the PLIF paper's authors, by its card and the rows of its log.

    Returns None if they share no epoch. Raises PlifError, which begins with `context`, for a card with values of
    another kind.
    """
    conditions = read_conditions(card, epochs, context)
    column, judged = conditions.judged_column, conditions.judged
    ours = {int(row["epoch"]): row for row in epochs if row[column]}
    theirs = run.by_epoch(run.judged)
    shared = sorted(set(ours) & set(theirs))
    if not shared:
        return None
    epoch = shared[-1]
    record = check_record(card, context)
    accuracy, precision = float(ours[epoch][column]), conditions.recipe.precision
    differences, tested = conditions.differences(run.conditions), record.get("test_accuracy")
    test = None
    if judged == "validation" and tested is not None and not differences:
        theirs_tested = run.test_accuracy_of_best(max(ours))
        test = None if theirs_tested is None else (tested, theirs_tested)
    comparison = AuthorsComparison(
        run.name, judged, epoch, accuracy, precision, differences + run.judged_differences, test=test
    )
    if comparison.differences:
        return comparison
    low, high = accuracy_spread(run, int(np.flatnonzero(run.epoch == epoch)[0]))
    taus = {
        layer: (float(ours[epoch][f"tau:{layer}"]), theirs_at[epoch])
        for layer, theirs_at in ((layer, run.by_epoch(tau)) for layer, tau in run.taus.items())
        if ours[epoch].get(f"tau:{layer}") and epoch in theirs_at
    }
    return replace(comparison, authors=theirs[epoch], low=low, high=high, taus=taus)


def accuracy_spread(run: AuthorsRun, row: int) -> tuple[float, float]:
    """Return the (lowest, highest) accuracy that matches one in a log of the PLIF paper's authors."""
    near = run.judged[max(0, row - NEIGHBOURS) : row + NEIGHBOURS + 1]
    near = near[~np.isnan(near)]
    wide = 1.96 * np.sqrt(near * (1 - near) / run.judged_samples)
    return max(0.0, float((near - wide).min())), min(1.0, float((near + wide).max()))
