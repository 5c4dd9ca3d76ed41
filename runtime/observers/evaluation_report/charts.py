"""Charts as SVG text for standalone pages: no library, no script, no network.

Colours are CSS variables that the page sets (report.css), so that one drawing serves light and dark screens and
paper. Each function returns one <svg> element with a title. Equal numbers give equal text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from runtime.core.base.text import printable

COLOURS = 7
WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 34, 48
MAX_NAME = 28  # characters of a name in a chart


@dataclass(frozen=True)
class Line:
    """One line in a line chart: its points (x, y), and optionally the (low, high) interval of each point."""

    name: str
    points: Sequence[tuple[float, float]]
    bands: Sequence[tuple[float, float]] | None = None
    dashed: bool = False


@dataclass(frozen=True)
class LineChart:
    """The data of a line chart of shares (0..1) over numbers: title, axis names and lines.

    low: the start of the y axis; None starts below the smallest value.
    """

    title: str
    x: str
    y: str
    series: Sequence[Line]
    low: float | None = None


def draw_lines(chart: LineChart) -> str:
    """Draw a line chart as SVG."""
    series = chart.series
    xs = [p[0] for line in series for p in line.points]
    ys = [p[1] for line in series for p in line.points] + [e for s in series for b in s.bands or () for e in b]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    top = min(1.0, max(ys))
    floor = min(ys) if chart.low is None else chart.low
    y_axis = _Axis(floor, top if top > floor else floor + 1, HEIGHT - BOTTOM, TOP, most=1.0)
    parts = _draw_axes(x_axis, y_axis, chart.x, chart.y, percent=True)
    for n, line in enumerate(series):
        colour = f"var(--c{n % COLOURS + 1})"
        places = [(x_axis(a), y_axis(b)) for a, b in line.points]
        if line.bands:
            upper = [f"{px:.1f},{y_axis(high):.1f}" for (px, _), (_, high) in zip(places, line.bands, strict=True)]
            under = [f"{px:.1f},{y_axis(least):.1f}" for (px, _), (least, _) in zip(places, line.bands, strict=True)]
            parts.append(f'<polygon points="{" ".join(upper + under[::-1])}" fill="{colour}" opacity="0.16"/>')
        path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
        style = 'class="dash"' if line.dashed else f'fill="none" stroke="{colour}" stroke-width="2.2"'
        parts.append(f'<polyline points="{path}" {style}/>')
        if len(places) <= 24 and not line.dashed:
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="2.8" fill="{colour}"/>' for px, py in places]
    return _svg(chart.title, HEIGHT, parts) + _legend(series)


def draw_bars(
    title: str, names: Sequence[str], values: Sequence[float], *, texts: Sequence[str], colour: int = 1
) -> str:
    """Draw a horizontal bar chart as SVG: one bar a line, with its name to the left and its text to the right."""
    step, room = 26, 190
    height = step * len(names) + 12
    top = max([*values, 1e-30])
    parts = []
    for i, (name, value, text) in enumerate(zip(names, values, texts, strict=True)):
        y = 6 + step * i
        width = (WIDTH - room - 150) * value / top
        parts.append(f'<text x="{room - 8}" y="{y + 16}" text-anchor="end">{_escape_name(name)}</text>')
        parts.append(
            f'<rect x="{room}" y="{y + 3}" width="{max(width, 1):.1f}" height="{step - 8}" fill="var(--c{colour})"/>'
        )
        parts.append(f'<text x="{room + max(width, 1) + 7:.1f}" y="{y + 16}">{_escape_name(text)}</text>')
    return _svg(title, height, parts)


def draw_histogram(title: str, x: str, y: str, edges: Sequence[float], counts: Sequence[float]) -> str:
    """Draw a histogram as SVG, on a logarithmic x axis with bars of equal width.

    edges has one entry more than counts.
    """
    x_axis = _Axis(0, len(counts), LEFT, WIDTH - RIGHT, ticks=False)
    y_axis = _Axis(0, max([*counts, 1]), HEIGHT - BOTTOM, TOP)
    parts = _draw_axes(x_axis, y_axis, x, y, percent=False)
    for i, n in enumerate(counts):
        x0, x1, up = x_axis(i) + 1, x_axis(i + 1) - 1, y_axis(n)
        parts.append(
            f'<rect x="{x0:.1f}" y="{up:.1f}" width="{max(x1 - x0, 1):.1f}" height="{HEIGHT - BOTTOM - up:.1f}" '
            f'fill="var(--c1)"/>'
        )
    for tick in choose_ticks(edges[0], edges[-1]):
        tick_x = x_axis(len(counts) * math.log(tick / edges[0]) / math.log(edges[-1] / edges[0]))
        parts.append(
            f'<text x="{tick_x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_format_tick(tick)}</text>'
        )
    return _svg(title, HEIGHT, parts)


def draw_confusion(title: str, counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """Draw a confusion matrix [true][predicted] as SVG: the count in each cell, shaded by its share of the row."""
    n = len(counts)
    cell = max(20, min(46, 400 // max(n, 1)))
    shown = [_escape_name(name) for name in names]
    margin = min(200, 30 + 7 * max(len(name) for name in shown))
    width, height = margin + n * cell + 10, n * cell + 14 + margin
    parts = []
    for i, row in enumerate(counts):
        y, total = 10 + i * cell, max(sum(row), 1)
        parts.append(f'<text x="{margin - 8}" y="{y + cell / 2 + 4:.1f}" text-anchor="end">{shown[i]}</text>')
        for j, count in enumerate(row):
            share = count / total
            colour = "--c1" if i == j else "--c2"
            x = margin + j * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" fill="var({colour})" '
                f'opacity="{0.06 + 0.6 * math.sqrt(share):.2f}"/>'
            )
            if count:
                middle = f'x="{x + cell / 2 - 1:.1f}" y="{y + cell / 2 + 4:.1f}"'
                parts.append(f'<text class="name" {middle} text-anchor="middle">{count}</text>')
    for j in range(n):
        middle_x, under = margin + j * cell + cell / 2 + 3, 10 + n * cell + 10
        parts.append(
            f'<text transform="translate({middle_x:.1f},{under}) rotate(-60)" text-anchor="end">{shown[j]}</text>'
        )
    return _svg(title, height, parts, width)


def draw_strips(title: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Draw a strip chart as SVG: a strip per layer or other row, a cell per value (0..1), sorted, darker is higher.

    The shades are relative to the highest value of each row.
    """
    step, room = 30, 120
    parts = []
    for i, (name, values) in enumerate(rows):
        y, width = 4 + i * step, (WIDTH - room - 80) / max(len(values), 1)
        top = max(values, default=0.0) or 1.0
        parts.append(f'<text x="{room - 8}" y="{y + 17}" text-anchor="end">{_escape_name(name)}</text>')
        for j, value in enumerate(sorted(values, reverse=True)):
            shade = 0.05 + 0.95 * value / top if value else 0
            parts.append(
                f'<rect x="{room + j * width:.2f}" y="{y}" width="{width + 0.3:.2f}" height="{step - 8}" '
                f'fill="var(--c1)" opacity="{shade:.2f}"/>'
            )
        parts.append(
            f'<rect x="{room}" y="{y}" width="{WIDTH - room - 80}" height="{step - 8}" fill="none" class="grid"/>'
        )
        parts.append(f'<text x="{WIDTH - 74}" y="{y + 17}">{100 * max(values, default=0):.0f} % top</text>')
    return _svg(title, step * len(rows) + 6, parts)


# --- pieces -----------------------------------------------------------------------------------------------------------


class _Axis:
    """A linear chart axis, which maps values to pixel positions and has ticks at round numbers."""

    def __init__(
        self, low: float, high: float, start: float, end: float, most: float | None = None, ticks: bool = True
    ) -> None:
        high = high if high > low else low + 1
        self.ticks: list[float] = []
        if ticks:
            step = _round_step((high - low) / 5)
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            self.ticks = [n * step for n in range(first, last + 1) if most is None or n * step <= most + 1e-9]
            low, high = min(low, self.ticks[0]), max(high, self.ticks[-1])
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)


def choose_ticks(low: float, high: float) -> list[float]:
    """Choose round tick values from low to high (both above 0) of a logarithmic axis, at least three if possible."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((10,), (10, 20, 50), range(10, 100, 10), range(10, 100, 5), range(10, 100)):
        ticks = [float(f"{digit}e{power - 1}") for power in powers for digit in digits]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    return ticks


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(n * size for n in (1, 2, 2.5, 5, 10) if n * size >= step * 0.999)


def _draw_axes(x_axis: _Axis, y_axis: _Axis, x: str, y: str, percent: bool) -> list[str]:
    parts = []
    for value in y_axis.ticks:
        position = y_axis(value)
        label = f"{100 * value:.4g} %" if percent else _format_tick(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{position:.1f}" x2="{WIDTH - RIGHT}" y2="{position:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{position + 4:.1f}" text-anchor="end">{label}</text>')
    for value in x_axis.ticks:
        parts.append(
            f'<text x="{x_axis(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_format_tick(value)}</text>'
        )
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{_escape_name(x, 60)}</text>'
    )
    parts.append(f'<text x="4" y="14">{_escape_name(y)}</text>' if y else "")
    return parts


def _legend(series: Sequence[Line]) -> str:
    if len(series) < 2:
        return ""
    items = "".join(
        f'<span><i style="background:var(--{"soft" if line.dashed else f"c{n % COLOURS + 1}"})"></i>'
        f"{_escape_name(line.name, 60)}</span>"
        for n, line in enumerate(series)
    )
    return f'<p class="legend">{items}</p>'


def _format_tick(value: float) -> str:
    """Format a number for an axis: 1500000 -> 1.5M."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 if unit != "k" else 10):
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def _escape_name(text: str, longest: int = MAX_NAME) -> str:
    text = printable(text)
    return escape(text if len(text) <= longest else text[: longest - 1] + "…")


def _svg(title: str, height: float, parts: Sequence[str], width: float = WIDTH) -> str:
    body = "\n".join(part for part in parts if part)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>\n{body}\n</svg>"
    )
