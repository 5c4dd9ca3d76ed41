"""What all figures share: PNG, SVG and the data as CSV, report.html, and how an input looks."""

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
from runtime.core.base.files import make_folder, whole_or_nothing
from runtime.core.base.text import cell, printable

matplotlib.rcParams["svg.hashsalt"] = "plif"  # the names inside an SVG are random otherwise
matplotlib.rcParams["text.parse_math"] = False  # two $ in the name of a run or class are no formula

# Blue for what matters, grey for the rest; further hues in the order of need. They differ in lightness, too.
BLUE, RED, GREEN, AMBER, VIOLET, GREY = "#1f6fb4", "#d1495b", "#2a9d6f", "#e0a030", "#7b5ea7", "#9aa3ad"
RATES = "magma"  # of firing rates and spikes: black is silence
STEPS_SHOWN = 20  # columns that can be read on a page


class MissingPart(PlifError):
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
            write_rows(
                table, [{k: cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in drawing.rows]
            )
    finally:
        plt.close(drawing.figure)
    return paths


def top_of(rates: np.ndarray) -> float:
    """Where the colours of firing rates [...] end: the largest rate, rounded up to a tenth."""
    return max(0.1, float(np.ceil(10 * rates.max() - 1e-6)) / 10)


def panels(rows: int, columns: int, width: float, height: float, **options: Any) -> tuple[plt.Figure, np.ndarray]:
    """A figure of `width` by `height` inches and its axes, [rows, columns]."""
    return plt.subplots(rows, columns, figsize=(width, height), layout="constrained", squeeze=False, **options)


def some_steps(T: int) -> list[int]:
    """At most STEPS_SHOWN of T time-steps, evenly apart, for a figure with a column a step; the first is 0."""
    return list(range(0, T, math.ceil(T / STEPS_SHOWN)))


def show(axes: Any, image: np.ndarray, title: str = "", left: str = "", top: float = 1.0) -> Any:
    """An image without ticks, `left` is written beside it: colours [H, W, 3], or rates [H, W] from 0 to `top`."""
    shown = axes.imshow(image, cmap=RATES, vmin=0, vmax=top)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, fontsize=8)
    if left:
        axes.set_ylabel(left, fontsize=8, rotation=0, ha="right", va="center")
    return shown


def finish_lines(axes: Any, x: str, y: str, whole: str = "x") -> None:
    """The names of a line plot's axes, and no box; whole numbers on the axes named in `whole`."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for name in whole:
        getattr(axes, f"{name}axis").get_major_locator().set_params(integer=True)
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


STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2430}"
    "img{max-width:100%}figure{margin:2rem 0}figcaption{color:#5b6673}pre{overflow-x:auto;background:#f4f6f8;padding:1rem}"
)


def write_report(path: Path, title: str, figures: Sequence[tuple[Path, str]], text: str) -> None:
    """report.html: all figures and the table on one page that needs no other file.

    `figures` are (PNG file, caption);  text: the table, "" where there is none.
    """
    title = printable(title)
    parts = [f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"]
    parts.append(f"<h1>{html.escape(title)}</h1>" + (f"<pre>{html.escape(text)}</pre>" if text else ""))
    for picture, caption in figures:
        data = base64.b64encode(picture.read_bytes()).decode()
        words = html.escape(printable(caption))
        parts.append(
            f'<figure><img alt="{words}" src="data:image/png;base64,{data}"><figcaption>{words}</figcaption></figure>'
        )
    with whole_or_nothing(path) as (beside,):
        beside.write_text("\n".join(parts) + "\n", encoding="utf-8")
