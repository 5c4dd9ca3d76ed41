"""Accuracy and loss over the epochs, beside the authors' log where there is one for the data set."""

from __future__ import annotations

from plif_train.figures.draw import AMBER, BLUE, GREEN, GREY, RED, Drawing, finish_lines, panels
from plif_train.figures.published import CURVES, EPOCHS
from plif_train.figures.subject import FigureModel, TrainingRun

COLOURS = (BLUE, RED, GREEN, AMBER)


def draw(subject: FigureModel) -> Drawing:
    runs = subject.logged("epochs")
    figure, ((accuracy, loss),) = panels(1, 2, 9, 3.6)
    rows = []
    for i, run in enumerate(runs):
        colour = COLOURS[i % len(COLOURS)]
        lines = {name: line_of(run, name) for name in _NAMES}
        dots = "o" if len(run.epochs) < 10 else None
        test = f"{run.name}, test" if len(runs) > 1 else "test"
        if lines["test_accuracy"][0]:
            accuracy.plot(*lines["test_accuracy"], color=colour, lw=1.8, marker=dots, ms=4, label=test)
        elif run.training.get("test_accuracy") is not None:  # protocol B: once, by the epoch that was kept
            once = [run.training["epoch"]], [run.training["test_accuracy"]]
            accuracy.plot(*once, "*", color=colour, ms=10, label=test)
        accuracy.plot(*lines["train_accuracy"], color=colour, lw=1, ls=":", label=test.replace("test", "train"))
        if lines["val_accuracy"][0]:
            held = test.replace("test", "validation")
            accuracy.plot(*lines["val_accuracy"], color=colour, lw=1, ls="--", label=held)
        loss.plot(*lines["loss"], color=colour, lw=1.8, marker=dots, ms=4)
        rows += [{"run": run.name, **{name: row[name] for name in ("epoch", "lr", *_NAMES)}} for row in run.epochs]
    last = max(int(row["epoch"]) for row in rows)
    for name in sorted({str(run.training.get("dataset")) for run in runs} & set(CURVES)):
        known = [(e, a) for e, a in zip(EPOCHS, CURVES[name], strict=True) if e <= max(last, 1)]
        if known:
            label = "authors' log, test"
            accuracy.plot(*zip(*known, strict=True), "D", color=GREY, ms=5, mfc="none", label=label)
    accuracy.legend(fontsize=8, frameon=False)
    loss.set_ylim(bottom=0)
    finish_lines(accuracy, "epoch", "accuracy")
    finish_lines(loss, "epoch", "training loss")
    return Drawing(figure, rows, "Accuracy and loss over the epochs")


def line_of(run: TrainingRun, name: str) -> tuple[list[int], list[float]]:
    """(epochs, values) of a column of the log, where it has some."""
    rows = [row for row in run.epochs if row[name]]
    return [int(row["epoch"]) for row in rows], [float(row[name]) for row in rows]


_NAMES = ("train_accuracy", "val_accuracy", "test_accuracy", "loss")
