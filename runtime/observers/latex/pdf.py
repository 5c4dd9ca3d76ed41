"""Charts as PDF, for papers: those of charts.py, a column wide, with embedded fonts. It needs matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.style import context

from runtime.core.base.text import printable
from runtime.observers.evaluation_report.charts import LineChart, choose_ticks
from runtime.observers.evaluation_report.png import MAX_NAME, OFF, ON, parse_colour

WIDTH = 3.4  # inches
COLOURS = (ON, OFF, "#2a9d6f", "#b7791f")
GREY = "#5b6a7a"
STYLE = {
    "pdf.fonttype": 42,  # TrueType; publishers reject Type 3
    "text.parse_math": False,  # two $ in a name are not a formula
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw_lines(chart: LineChart, path: Path) -> None:
    """Draw a line chart with its interval bands into a PDF file."""
    with context(STYLE):
        figure, axes = _figure(chart.x, chart.y)
        for line, colour in zip(chart.series, COLOURS, strict=False):
            xs, ys = zip(*line.points, strict=True)
            if line.bands:
                axes.fill_between(xs, *zip(*line.bands, strict=True), color=colour, alpha=0.16, lw=0)
            style = {"color": GREY, "ls": "--", "lw": 0.9} if line.dashed else {"color": colour, "lw": 1.4}
            axes.plot(xs, ys, label=printable(line.name, MAX_NAME), **style)
        axes.set_ylim(bottom=chart.low, top=min(1.0, axes.get_ylim()[1]))
        axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:.4g} %")
        if len(chart.series) > 1:
            axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(chart.series))
        axes.xaxis.get_major_locator().set_params(nbins=6)
        _save(figure, path)


def draw_histogram(x: str, y: str, edges: Sequence[float], counts: Sequence[int], path: Path) -> None:
    """Draw a histogram on a logarithmic axis into a PDF file."""
    with context(STYLE):
        figure, axes = _figure(x, y)
        axes.stairs(counts, edges, fill=True, color=ON)
        axes.set_xscale("log")
        ticks = choose_ticks(edges[0], edges[-1])
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        _save(figure, path)


def draw_confusion(counts: np.ndarray, names: Sequence[str], path: Path) -> None:
    """Draw a confusion matrix, int [true, predicted], into a PDF file: counts, shaded by their share of the row."""
    n, shares = len(counts), counts / np.maximum(counts.sum(1, keepdims=True), 1)
    with context({**STYLE, "font.size": 7 if n <= 20 else 70 / n}):
        shown = [printable(name, MAX_NAME) for name in names]
        side = 2.4 + 0.055 * max(map(len, shown))
        figure, axes = _figure("predicted", "true", side, side)
        axes.imshow(1 - shares[..., None] * (1 - parse_colour(ON)))
        axes.set_xticks(range(n), shown, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(n), shown)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        for i, j in np.argwhere(counts).tolist():
            axes.text(j, i, counts[i, j], ha="center", va="center", color="white" if shares[i, j] > 0.5 else "black")
        _save(figure, path)


def _figure(x: str, y: str, width: float = WIDTH, height: float = 2.3) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a missing letter of the font is drawn as a box
        figure.savefig(path, format="pdf", metadata={"CreationDate": None})  # the same numbers give the same file
