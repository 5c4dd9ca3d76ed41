"""The figure `course`: accuracy and loss over the epochs, with the authors' if the conditions are equal.

A row of panels holds all runs of the same data, tested on as many samples, by the same protocol and loss: other runs
must not be read on one scale.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from plif_train.commands.paper_figures.draw import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    RED,
    VIOLET,
    Drawing,
    create_panels,
    finish_line_plot,
)
from plif_train.commands.paper_figures.subject import FigureModel, TrainingRun
from plif_train.commands.paper_rows.conditions import make_titles

COLOURS = (BLUE, RED, GREEN, AMBER, VIOLET)
SCALE = ("dataset", "origin", "classes", "protocol", "loss", "test_samples")


def draw(subject: FigureModel) -> Drawing:
    groups = group_runs(subject.logged_runs, SCALE)
    titles = make_titles([runs[0].conditions for runs in groups], SCALE)
    figure, places = create_panels(len(groups), 2, 9, 3.6 * len(groups))
    rows, notes = [], []
    for title, runs, (accuracy, loss) in zip(titles, groups, places, strict=True):
        rows += _draw_group(runs, accuracy, loss, len(subject.logged_runs) > 1)
        notes += list_notes(runs)
        if len(groups) > 1:
            accuracy.set_title(textwrap.fill(title, 70), fontsize=9)
    alone = f" ({'; '.join(notes)})" if notes else ""
    return Drawing(figure, rows, f"Accuracy and loss over the epochs{alone}")


def group_runs(runs: list[TrainingRun], names: Sequence[str]) -> list[list[TrainingRun]]:
    """Group training runs that have equal values of the named conditions (such as data set or neuron)."""
    groups: dict[tuple[object, ...], list[TrainingRun]] = {}
    for run in runs:
        groups.setdefault(run.conditions.select(names), []).append(run)
    return [*groups.values()]


def _draw_group(runs: list[TrainingRun], accuracy: Any, loss: Any, named: bool) -> list[dict[str, Any]]:
    rows = []
    for i, run in enumerate(runs):
        colour = COLOURS[i % len(COLOURS)]
        lines = {name: read_log_column(run, name) for name in _LOG_COLUMNS}
        dots = "o" if len(run.epochs) < 10 else None
        test = f"{run.name}, test" if named else "test"
        if lines["test_accuracy"][0]:
            accuracy.plot(*lines["test_accuracy"], color=colour, lw=1.8, marker=dots, ms=4, label=test)
        elif run.training.get("test_accuracy") is not None:  # protocol B: once, by the epoch that was kept
            point = [run.training["epoch"]], [run.training["test_accuracy"]]
            accuracy.plot(*point, "*", color=colour, ms=10, label=test)
        accuracy.plot(*lines["train_accuracy"], color=colour, lw=1, ls=":", label=test.replace("test", "train"))
        if lines["val_accuracy"][0]:
            validation = test.replace("test", "validation")
            accuracy.plot(*lines["val_accuracy"], color=colour, lw=1, ls="--", label=validation)
        loss.plot(*lines["loss"], color=colour, lw=1.8, marker=dots, ms=4)
        theirs = authors_accuracy(run)
        for judged, label in ((theirs[0], "test"), (theirs[1], "validation"))[run.conditions.recipe.protocol == "B" :]:
            if judged:
                accuracy.plot(*zip(*judged.items(), strict=True), color=GREY, lw=1.2, marker="D", ms=3, mfc="none", zorder=0,
                              label=f"the authors', {label}" + (f", like {run.name}" if named else ""))  # fmt: skip
        rows += [
            {
                "run": run.name,
                **{name: row[name] for name in ("epoch", "lr", *_LOG_COLUMNS)},
                "authors_test": theirs[0].get(int(row["epoch"]), ""),
                "authors_val": theirs[1].get(int(row["epoch"]), ""),
            }
            for row in run.epochs
        ]
    accuracy.legend(fontsize=8, frameon=False)
    loss.set_ylim(bottom=0)
    finish_line_plot(accuracy, "epoch", "accuracy")
    finish_line_plot(loss, "epoch", "training loss")
    return rows


def list_notes(runs: list[TrainingRun]) -> list[str]:
    """List notes that say why results of the PLIF paper's authors are not drawn next to our training runs."""
    notes = [run.no_authors_note for run in runs]
    for run in runs:
        if run.authors and (why := "; ".join(run.authors.judged_differences)):
            notes.append(f"the authors' validation accuracy is not drawn beside {run.name}: {why}")
    return [note for note in notes if note]


def authors_accuracy(run: TrainingRun) -> tuple[dict[int, float], dict[int, float]]:
    """Return test and validation accuracy by epoch as the PLIF paper's authors logged it, up to our last epoch.

    Values under unlike conditions are left out.
    """
    if run.authors is None:
        return {}, {}
    last = int(run.epochs[-1]["epoch"])
    test, val = (run.authors.by_epoch(accuracies, last) for accuracies in (run.authors.test, run.authors.val))
    return test, {} if run.authors.judged_differences else val


def read_log_column(run: TrainingRun, name: str) -> tuple[list[int], list[float]]:
    """Read a column of the log of a training run as (epochs, values), without empty cells."""
    rows = [row for row in run.epochs if row[name]]
    return [int(row["epoch"]) for row in rows], [float(row[name]) for row in rows]


_LOG_COLUMNS = ("train_accuracy", "val_accuracy", "test_accuracy", "loss")
