"""What all figures share: PNG, SVG and the data as CSV, and how an input looks."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the choice of a backend without a screen
import numpy as np

from runtime.base.errors import PlifError
from runtime.base.files import make_folder, whole_or_nothing
from runtime.show.pictures import event_picture

# Blue for what matters, grey for the rest; further hues in the order of need. They differ in lightness, too.
BLUE, RED, GREEN, AMBER, GREY = "#1f6fb4", "#d1495b", "#2a9d6f", "#e0a030", "#9aa3ad"
RATES = "magma"  # of firing rates and spikes: black is silence


class NotHere(PlifError):
    """The model or folder lacks what a figure needs."""


@dataclass
class Drawing:
    """A figure, the numbers it shows, and one line on what to see."""

    figure: plt.Figure
    rows: list[dict[str, Any]]
    caption: str


def save(drawing: Drawing, out: Path, name: str) -> list[Path]:
    """NAME.png, NAME.svg and NAME.csv in `out`."""
    paths = [out / f"{name}.{suffix}" for suffix in ("png", "svg", "csv")]
    try:
        make_folder(out)
        with whole_or_nothing(*paths) as (png, svg, table):
            drawing.figure.savefig(png, format="png", dpi=130)
            drawing.figure.savefig(svg, format="svg", metadata={"Date": None})  # the same data give the same file
            with open(table, "w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(drawing.rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(drawing.rows)
    finally:
        plt.close(drawing.figure)
    return paths


def input_picture(x: np.ndarray) -> np.ndarray:
    """An input [C, H, W] as [H, W, 3]: two channels are events (ON blue, OFF red), three are colours, one is grey."""
    if len(x) == 2:
        return event_picture(x)
    low, high = float(x.min()), float(x.max())
    image = (x - low) / (high - low) if high > low else np.zeros_like(x)
    return np.repeat(image, 3, 0).transpose(1, 2, 0) if len(x) == 1 else image[:3].transpose(1, 2, 0)


def top_of(rates: np.ndarray) -> float:
    """Where the colours of firing rates end: the largest one, rounded up to a tenth."""
    return max(0.1, float(np.ceil(10 * rates.max() - 1e-6)) / 10)


def bare(axes: Any, title: str = "", left: str = "") -> None:
    """An image without ticks; `left` is written beside it."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=8)
    if left:
        axes.set_ylabel(left, fontsize=8, rotation=0, ha="right", va="center")


def plain(axes: Any) -> None:
    """Axes of a line plot, without a box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def label_ends(axes: Any, ends: list[tuple[float, float, str, str]], log: bool = False) -> None:
    """Names at the ends of lines (x, y, text, colour), moved apart where they would overlap."""
    low, high = axes.get_ylim()
    scale = (lambda v: np.log(v)) if log else (lambda v: v)
    gap = (scale(high) - scale(low)) * 0.055
    last = -np.inf
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        at = max(scale(y), last + gap)
        last = at
        axes.annotate(
            text, (x, y), xytext=(1.02, float(np.exp(at)) if log else at), textcoords=("axes fraction", "data"),
            color=colour, fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip
