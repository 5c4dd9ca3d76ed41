"""Shared functions of the paper's figures: PNG, SVG and CSV files, axes, images, report.html."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np

from plif_train.hooks.kept_epochs.log import write_rows
from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.text import escape_csv_cell, printable

matplotlib.rcParams["svg.hashsalt"] = "plif"  # the names inside an SVG are random otherwise
matplotlib.rcParams["text.parse_math"] = False  # two $ in the name of a run or class are not a formula

# Blue for the main line, grey for the others; further hues in the order of use. They differ in lightness, too.
BLUE, RED, GREEN, AMBER, VIOLET, GREY = "#1f6fb4", "#d1495b", "#2a9d6f", "#e0a030", "#7b5ea7", "#9aa3ad"
RATES = "magma"  # the colour map of firing rates and spikes: black is silence
STEPS_SHOWN = 20  # columns that can be read on a page


class MissingData(PlifError):
    """The error that a model or folder lacks data that a figure needs."""


@dataclass
class Drawing:
    """A drawn figure of the PLIF paper with the numbers that it shows and a caption of one line."""

    figure: plt.Figure
    rows: list[dict[str, Any]]
    caption: str


def save_drawing(drawing: Drawing, out: Path, name: str) -> list[Path]:
    """Save a drawn figure as NAME.png, NAME.svg and NAME.csv in the folder `out`; return the paths."""
    paths = [out / f"{name}.{suffix}" for suffix in ("png", "svg", "csv")]
    try:
        make_folder(out)
        with atomic_write(*paths) as (png, svg, table):
            drawing.figure.savefig(png, format="png", dpi=130)
            drawing.figure.savefig(svg, format="svg", metadata={"Date": None})  # the same data give the same file
            write_rows(
                table,
                [{k: escape_csv_cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in drawing.rows],
            )
    finally:
        plt.close(drawing.figure)
    return paths


def colour_limit(rates: np.ndarray) -> float:
    """Return the end of the colour scale for firing rates [...]: the largest rate, rounded up to a tenth."""
    return max(0.1, float(np.ceil(10 * rates.max() - 1e-6)) / 10)


def create_panels(
    rows: int, columns: int, width: float, height: float, **options: Any
) -> tuple[plt.Figure, np.ndarray]:
    """Create a matplotlib figure of `width` by `height` inches with a grid of axes, [rows, columns]."""
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)


def select_steps(T: int) -> list[int]:
    """Select the time-steps that a figure shows: at most STEPS_SHOWN of T, evenly spaced and beginning with 0.

    They are for a figure with a column a step.
    """
    return list(range(0, T, math.ceil(T / STEPS_SHOWN)))


def show_image(axes: Any, image: np.ndarray, title: str = "", left: str = "", top: float = 1.0) -> Any:
    """Draw an image on axes without ticks: colours [H, W, 3], or firing rates [H, W] from 0 to `top`.

    The text `left` is written next to it.
    """
    artist = axes.imshow(image, cmap=RATES, vmin=0, vmax=top)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=8)
    if left:
        axes.set_ylabel(left, fontsize=8, rotation=0, ha="right", va="center")
    return artist


def finish_line_plot(axes: Any, x: str, y: str, integer_axes: str = "x") -> None:
    """Label the axes of a line plot and remove its box.

    The axes named in `integer_axes` get whole numbers.
    """
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for name in integer_axes:
        getattr(axes, f"{name}axis").get_major_locator().set_params(integer=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def label_line_ends(axes: Any, ends: list[tuple[float, float, str, str]], log: bool = False) -> None:
    """Write names at the ends of lines (x, y, text, colour), moved apart if they would overlap."""
    low, high = axes.get_ylim()
    scale = (lambda v: np.log(v)) if log else (lambda v: v)
    gap = (scale(high) - scale(low)) * 0.055
    previous = -np.inf
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        position = max(scale(y), previous + gap)
        previous = position
        axes.annotate(
            text, (x, y), xytext=(1.02, float(np.exp(position)) if log else position), textcoords=("axes fraction", "data"),
            color=colour, fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}"
    "img{max-width:100%}figure{margin:2rem 0}figcaption{color:#5b6673}pre{overflow-x:auto;background:#f4f6f8;padding:1rem}"
)


def write_report(path: Path, title: str, figures: Sequence[tuple[Path, str]], text: str) -> None:
    """Write report.html: all drawn figures and the results table on one page that needs no other file.

    `figures` are (PNG file, caption);  text: the table, "" if there is none.
    """
    title = printable(title)
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>" + (f"<pre>{html.escape(text)}</pre>" if text else ""))
    for picture, caption in figures:
        data = base64.b64encode(picture.read_bytes()).decode()
        text_html = html.escape(printable(caption))
        parts.append(
            f'<figure><img alt="{text_html}" src="data:image/png;base64,{data}"><figcaption>{text_html}</figcaption></figure>'
        )
    with atomic_write(path) as (temporary_path,):
        temporary_path.write_text("\n".join(parts) + "\n", encoding="utf-8")
