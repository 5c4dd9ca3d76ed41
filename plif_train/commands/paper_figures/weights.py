"""The figure S1: the distribution of W_fc/tau, the weight that actually charges a neuron, during training.

A model without its log has its present distribution alone.
"""

from __future__ import annotations

import numpy as np

from plif_train.commands.paper_figures.draw import BLUE, Drawing, MissingData, create_panels
from plif_train.commands.paper_figures.subject import FigureModel, TrainingRun
from plif_train.hooks.kept_epochs.log import Row, make_weight_rows, weights_path
from runtime.core.base.errors import PlifError

RIDGES = 12


def draw(subject: FigureModel) -> Drawing:
    run = next((run for run in subject.runs if run.weights), subject.runs[0])
    weights: list[Row] = list(run.weights) or _present_rows(run)
    caption_end = f", of {run.name}" if len(subject.runs) > 1 else ""
    if not run.weights:
        caption_end += " as it is; the log of the training is not beside it"
    rows = [{"run": run.name, **row} for row in weights]
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    epochs = sorted({int(row["epoch"]) for row in rows})
    shown = [epochs[round(i)] for i in np.linspace(0, len(epochs) - 1, min(RIDGES, len(epochs)))]
    figure, (places,) = create_panels(1, len(layers), 4.4 * len(layers), 4)
    for layer, axes in zip(layers, places, strict=True):
        reach = 0.0
        heights = []
        for epoch in shown:
            part = [row for row in weights if row["layer"] == layer and int(row["epoch"]) == epoch]
            if not part:
                raise PlifError(
                    f"{weights_path(run.path)}: lacks {layer} in epoch {epoch}; expected a row for each of its bins"
                )
            low, high = (np.array([float(row[end]) for row in part]) for end in ("low", "high"))
            density = np.array([float(row["count"]) for row in part])
            centre = (low + high) / 2
            density /= max(float((density * (high - low)).sum()), 1e-30)
            heights.append((epoch, centre, density))
            share = np.cumsum(density * (high - low))
            reach = max(reach, *np.abs(centre[(share > 0.002) & (share < 0.998)]), 1e-9)
        top = max(1e-30, *(density.max() for _, _, density in heights))
        for place, (epoch, centre, density) in enumerate(heights):  # the first epochs are drawn at the back
            base = len(heights) - 1 - place
            line = base + 2.2 * density / top
            axes.fill_between(centre, base, line, color="white", zorder=place)
            axes.fill_between(
                centre, base, line, color=BLUE, alpha=0.25 + 0.5 * place / len(heights), lw=0, zorder=place
            )
            axes.plot(centre, line, color=BLUE, lw=0.8, zorder=place)
            axes.annotate(str(epoch), (0, base), xycoords=("axes fraction", "data"), xytext=(-6, 0),
                          textcoords="offset points", ha="right", va="bottom", fontsize=8)  # fmt: skip
        axes.set_xlim(-1.2 * reach, 1.2 * reach)
        axes.set_yticks([])
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.set_xlabel("W / tau")
        axes.set_title(layer, fontsize=9)
    places[0].set_ylabel("epoch", labelpad=24)
    return Drawing(figure, rows, f"The distribution of W/tau of the fully connected layers (Fig. S1){caption_end}")


def _present_rows(run: TrainingRun) -> list[Row]:
    rows = make_weight_rows(run.load_network(), int(run.training.get("epoch") or 0))
    if not rows:
        raise MissingData("no fully connected layer with neurons")
    return rows
