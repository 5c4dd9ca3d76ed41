"""Accuracy and loss over the epochs, beside the authors' log where there is one for the data set."""

from __future__ import annotations

from plif_train.figures.draw import AMBER, BLUE, GREEN, GREY, RED, Drawing, plain, plt
from plif_train.figures.published import CURVES, EPOCHS
from plif_train.figures.subject import Subject

COLOURS = (BLUE, RED, GREEN, AMBER)


def draw(subject: Subject) -> Drawing:
    runs = subject.logged("epochs")
    figure, (accuracy, loss) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    rows = []
    for i, run in enumerate(runs):
        colour = COLOURS[i % len(COLOURS)]
        epochs = [int(row["epoch"]) for row in run.epochs]
        columns = {name: [float(row[name]) for row in run.epochs if row[name]] for name in _NAMES}
        dots = "o" if len(epochs) < 10 else None
        test = f"{run.name}, test" if len(runs) > 1 else "test"
        accuracy.plot(epochs, columns["test_accuracy"], color=colour, lw=1.8, marker=dots, ms=4, label=test)
        accuracy.plot(
            epochs, columns["train_accuracy"], color=colour, lw=1, ls=":", label=test.replace("test", "train")
        )
        if columns["val_accuracy"]:
            held = test.replace("test", "validation")
            accuracy.plot(epochs, columns["val_accuracy"], color=colour, lw=1, ls="--", label=held)
        loss.plot(epochs, columns["loss"], color=colour, lw=1.8, marker=dots, ms=4)
        rows += [{"run": run.name, **{name: row[name] for name in ("epoch", "lr", *_NAMES)}} for row in run.epochs]
    last = max(int(row["epoch"]) for row in rows)
    for name in sorted({str(run.training.get("dataset")) for run in runs} & set(CURVES)):
        known = [(e, a) for e, a in zip(EPOCHS, CURVES[name], strict=True) if e <= max(last, 1)]
        if known:
            label = "authors' log, test"
            accuracy.plot(*zip(*known, strict=True), "D", color=GREY, ms=5, mfc="none", label=label)
    accuracy.set_ylabel("accuracy")
    accuracy.legend(fontsize=8, frameon=False)
    loss.set_ylabel("training loss")
    loss.set_ylim(bottom=0)
    for axes in (accuracy, loss):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        plain(axes)
    return Drawing(figure, rows, "Accuracy and loss over the epochs")


_NAMES = ("train_accuracy", "val_accuracy", "test_accuracy", "loss")
