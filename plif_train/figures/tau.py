"""tau of each layer over the epochs (main paper, Fig. 7): that of the first fully connected layer grows far above the rest.

tau per channel is drawn as its median and the range from the 10th to the 90th percentile.
"""

from __future__ import annotations

import numpy as np

from plif_train.figures.draw import BLUE, GREY, Drawing, MissingPart, finish_lines, label_ends, panels
from plif_train.figures.subject import FigureModel, TrainingRun


def draw(subject: FigureModel) -> Drawing:
    runs = [run for run in subject.logged("epochs") if taus_of(run)]
    if not runs:
        raise MissingPart("no layer of these runs learns its tau (LIF and IF do not)")
    figure, (row,) = panels(1, len(runs), 5.6 * len(runs), 3.8)
    rows = []
    for run, axes in zip(runs, row, strict=True):
        ends = []
        for layer, taus in taus_of(run).items():
            epochs, colour = np.arange(len(taus)), BLUE if layer == "fc1" else GREY
            middle, by_channel = np.median(taus, 1), taus.shape[1] > 1
            axes.plot(epochs, middle, color=colour, lw=2 if layer == "fc1" else 1.2)
            if by_channel:
                axes.fill_between(epochs, *np.percentile(taus, (10, 90), axis=1), color=colour, alpha=0.2, lw=0)
            ends.append((epochs[-1], float(middle[-1]), f"{layer}  {middle[-1]:.2f}", colour))
            rows += [
                {
                    "run": run.name,
                    "layer": layer,
                    "epoch": e,
                    "channel": c if by_channel else "",
                    "tau": float(taus[e, c]),
                }
                for e, c in np.ndindex(taus.shape)
            ]
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.tick_params(which="minor", labelsize=7)
        if len(runs) > 1:
            axes.set_title(run.name, fontsize=9)
        finish_lines(axes, "epoch", "tau, time-steps")
        label_ends(axes, ends, log=True)
    return Drawing(figure, rows, "tau of each layer; epoch 0 is before training")


def taus_of(run: TrainingRun) -> dict[str, np.ndarray]:
    """layer -> tau [1 + epochs, channels or 1]; row 0 is the value at the start."""
    columns: dict[str, list[str]] = {}
    for name in run.epochs[0]:
        kind, _, rest = name.partition(":")
        if kind == "tau":
            columns.setdefault(rest.partition(":")[0], []).append(name)
    start = float(run.card["options"]["init_tau"])
    found = {}
    for layer, names in columns.items():
        values = np.array([[float(row[name]) for name in names] for row in run.epochs])
        found[layer] = np.concatenate([np.full((1, len(names)), start), values])
    learned = "PLIF" in run.card["notation"]
    return found if learned else {}
