"""The picture of a stream, drawn with matplotlib (extras [train] and [export]); without it, callers draw none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np

from runtime.core.base.text import printable
from runtime.observers.evaluation_report.png import MAX_NAME, ON, draw_events

if TYPE_CHECKING:
    from runtime.core.stream.decide import Decision

PLAIN: dict[str, Any] = {"parse_math": False}  # for names from a file: two $ in them are no formula


def draw_stream(
    frames: list[np.ndarray], decisions: list[Decision], rates: dict[str, list[float]], classes: list[str], path: Path
) -> Path:
    """Draw a picture of a recording in the network: frames, votes per class and step, firing rate per layer.

    frames: float32 [2, H, W] of each step. decisions: of each step. rates: {layer: firing rate (0..1) of each step}.
    """
    figure = plt.figure(figsize=(10, 6.4), layout="constrained")
    parts: Any = figure.subfigures(3, 1, height_ratios=[1.1, 2.2, 1.6])
    top, middle, bottom = parts
    for axes, frame, t in zip(top.subplots(1, len(frames)), frames, range(len(frames)), strict=True):
        axes.imshow(draw_events(frame), interpolation="nearest")
        axes.set_title(f"step {t}", fontsize=8)
        axes.axis("off")
    votes = np.array([decision.votes for decision in decisions])
    steps = np.arange(len(votes))
    axes = middle.subplots()
    best = decisions[-1].index  # None: no answer, and no line is highlighted
    for i in range(votes.shape[1]):
        chosen = i == best
        axes.plot(steps, votes[:, i], color=ON if chosen else "#b8bec6", lw=2.2 if chosen else 1, zorder=2 + chosen)
    if best is not None:
        axes.annotate(
            printable(classes[best], MAX_NAME),
            (steps[-1], votes[-1, best]),
            xytext=(6, 0),
            textcoords="offset points",
            color=ON,
            va="center",
            **PLAIN,
        )
    axes.set_ylabel("votes since reset")
    axes.set_xlim(0, len(steps) - 0.5)
    axes.set_xticks(steps)
    axes.spines[["top", "right"]].set_visible(False)
    axes = bottom.subplots()
    image = axes.imshow(100 * np.array(list(rates.values())), aspect="auto", cmap="Greys", vmin=0)
    axes.set_yticks(range(len(rates)), [printable(layer, MAX_NAME) for layer in rates], **PLAIN)
    axes.set_xticks(steps)
    axes.set_xlabel("time-step")
    bottom.colorbar(image, ax=axes, label="neurons that fire, %")
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
