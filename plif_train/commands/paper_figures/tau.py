"""The figure `tau`: tau of each layer over the epochs (main paper, Fig. 7).

That of the first fully connected layer grows far above the others. tau per channel is drawn as its median and the
range from the 10th to the 90th percentile. Dashed: the authors' at the same epochs, if they trained under the same
conditions. A model without its log has its present tau alone.
"""

from __future__ import annotations

import numpy as np

from plif_train.commands.paper_figures.draw import (
    BLUE,
    GREY,
    Drawing,
    MissingData,
    create_panels,
    finish_line_plot,
    label_line_ends,
)
from plif_train.commands.paper_figures.subject import FigureModel, TrainingRun


def draw(subject: FigureModel) -> Drawing:
    logged = [run for run in subject.trained_runs if run.epochs]
    runs = [run for run in logged if read_taus(run)]
    if not runs:
        if not logged:
            return _draw_present(subject.trained_runs[0])
        raise MissingData(
            "no layer of these runs learns its tau (LIF and IF do not), or their logs have no columns tau:..."
        )
    figure, (row,) = create_panels(1, len(runs), 5.6 * len(runs), 3.8)
    rows = []
    for run, axes in zip(runs, row, strict=True):
        ends = []
        epochs = list_epochs(run)
        for layer, taus in read_taus(run).items():
            theirs = _authors_taus(run, layer) if taus.shape[1] == 1 else None
            colour = BLUE if layer == "fc1" else GREY
            middle, by_channel = np.median(taus, 1), taus.shape[1] > 1
            axes.plot(epochs, middle, color=colour, lw=2 if layer == "fc1" else 1.2)
            if by_channel:
                axes.fill_between(epochs, *np.percentile(taus, (10, 90), axis=1), color=colour, alpha=0.2, lw=0)
            if theirs is not None:
                axes.plot(epochs, theirs, color=colour, lw=1, ls="--", zorder=0)
            ends.append((float(epochs[-1]), float(middle[-1]), f"{layer}  {middle[-1]:.2f}", colour))
            rows += [
                {
                    "run": run.name,
                    "layer": layer,
                    "epoch": epochs[e],
                    "channel": c if by_channel else "",
                    "tau": float(taus[e, c]),
                    "authors": "" if theirs is None else float(theirs[e]),
                }
                for e, c in np.ndindex(taus.shape)
            ]
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(which="minor", labelsize=7)
        if len(runs) > 1:
            axes.set_title(run.name, fontsize=9)
        finish_line_plot(axes, "epoch", "tau, time-steps")
        label_line_ends(axes, ends, log=True)
    notes = ["dashed: the authors'"] if any(run.authors for run in runs) else []
    notes += [run.no_authors_note for run in runs if run.no_authors_note]
    return Drawing(figure, rows, "; ".join(["tau of each layer; epoch 0 is before training", *notes]))


def _authors_taus(run: TrainingRun, layer: str) -> np.ndarray | None:
    """Return tau of a layer by epoch as the PLIF paper's authors logged it, in a run with our conditions.

    NaN stands for epochs that they did not log.
    """
    if run.authors is None or layer not in run.authors.taus:
        return None
    by_epoch = run.authors.by_epoch(run.authors.taus[layer]) | {0: run.conditions.recipe.init_tau}
    return np.array([by_epoch.get(epoch, np.nan) for epoch in list_epochs(run)])


def list_epochs(run: TrainingRun) -> list[int]:
    """List the epochs in the log of a training run, preceded by 0 for the start of the training.

    Epoch 0 is left out if the training started from given weights, because their tau is unknown.
    """
    start = [0] if run.conditions.start is None else []
    return start + [int(row["epoch"]) for row in run.epochs]


def _draw_present(run: TrainingRun) -> Drawing:
    """Draw the present membrane time constant tau of each layer of a model that has no log."""
    taus = {name: neuron.tau() for name, neuron in run.load_network().neurons().items() if neuron.kind == "PLIF"}
    if not taus:
        raise MissingData("no layer of this model learns its tau (LIF and IF do not)")
    figure, ((axes,),) = create_panels(1, 1, 5.6, 0.9 + 0.35 * len(taus))
    rows = []
    for place, (layer, tau) in enumerate(taus.items()):
        values = np.atleast_1d(np.array(tau, float))
        axes.plot(values, np.full(len(values), -place), "o", color=BLUE if layer == "fc1" else GREY, ms=6)
        several = len(values) > 1
        rows += [{"layer": layer, "channel": c if several else "", "tau": t} for c, t in enumerate(values.tolist())]
    axes.set_yticks([-place for place in range(len(taus))], list(taus))
    finish_line_plot(axes, "tau, time-steps", "", integer_axes="")
    return Drawing(figure, rows, f"tau of each layer as it is; the log of the training is not beside {run.name}")


def read_taus(run: TrainingRun) -> dict[str, np.ndarray]:
    """Read tau of each layer from a training log: layer -> [epochs, channels or 1], at list_epochs(run)."""
    columns: dict[str, list[str]] = {}
    for name in run.epochs[0]:
        kind, _, tail = name.partition(":")
        if kind == "tau":
            columns.setdefault(tail.partition(":")[0], []).append(name)
    taus = {}
    for layer, names in columns.items():
        values = [[float(row[name]) for name in names] for row in run.epochs]
        begin = [[run.conditions.recipe.init_tau] * len(names)] if run.conditions.start is None else []
        taus[layer] = np.array(begin + values, dtype=float)
    learned = "PLIF" in run.card["notation"]
    return taus if learned else {}
