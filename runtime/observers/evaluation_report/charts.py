"""Charts as SVG text, for pages that stand alone: no library, no script, no network.

Colours are CSS variables that the page sets (report.css), so that one drawing serves light and dark screens and paper. Every
function returns one <svg> element, whose title says what it shows. The same numbers give the same text.
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
LONGEST = 28  # characters of a name


@dataclass(frozen=True)
class Line:
    """One line of a chart: points (x, y) in order, and for each, where it is known, the (low, high) of its interval."""

    name: str
    points: Sequence[tuple[float, float]]
    bands: Sequence[tuple[float, float]] | None = None
    dashed: bool = False


@dataclass(frozen=True)
class LineChart:
    """Shares (0..1) over numbers: the names of both axes, and the lines. low: where the y axis begins, else below the least."""

    title: str
    x: str
    y: str
    series: Sequence[Line]
    low: float | None = None


def lines(chart: LineChart) -> str:
    """The drawing of a line chart."""
    series = chart.series
    xs = [p[0] for line in series for p in line.points]
    ys = [p[1] for line in series for p in line.points] + [e for s in series for b in s.bands or () for e in b]
    x_axis = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    top = min(1.0, max(ys))
    floor = min(ys) if chart.low is None else chart.low
    y_axis = _Axis(floor, top if top > floor else floor + 1, HEIGHT - BOTTOM, TOP, most=1.0)
    parts = _frame(x_axis, y_axis, chart.x, chart.y, percent=True)
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


def bars(title: str, names: Sequence[str], values: Sequence[float], *, texts: Sequence[str], colour: int = 1) -> str:
    """Horizontal bars, one a line, each with its name before it and its text behind it."""
    step, room = 26, 190
    height = step * len(names) + 12
    top = max([*values, 1e-30])
    parts = []
    for i, (name, value, text) in enumerate(zip(names, values, texts, strict=True)):
        y = 6 + step * i
        width = (WIDTH - room - 150) * value / top
        parts.append(f'<text x="{room - 8}" y="{y + 16}" text-anchor="end">{_text(name)}</text>')
        parts.append(
            f'<rect x="{room}" y="{y + 3}" width="{max(width, 1):.1f}" height="{step - 8}" fill="var(--c{colour})"/>'
        )
        parts.append(f'<text x="{room + max(width, 1) + 7:.1f}" y="{y + 16}">{_text(text)}</text>')
    return _svg(title, height, parts)


def histogram(title: str, x: str, y: str, edges: Sequence[float], counts: Sequence[float]) -> str:
    """Vertical bars between edges (one more than counts), which are equally wide on a logarithmic x axis."""
    x_axis = _Axis(0, len(counts), LEFT, WIDTH - RIGHT, ticks=False)
    y_axis = _Axis(0, max([*counts, 1]), HEIGHT - BOTTOM, TOP)
    parts = _frame(x_axis, y_axis, x, y, percent=False)
    for i, n in enumerate(counts):
        left, right, up = x_axis(i) + 1, x_axis(i + 1) - 1, y_axis(n)
        parts.append(
            f'<rect x="{left:.1f}" y="{up:.1f}" width="{max(right - left, 1):.1f}" height="{HEIGHT - BOTTOM - up:.1f}" '
            f'fill="var(--c1)"/>'
        )
    for tick in round_ticks(edges[0], edges[-1]):
        at = x_axis(len(counts) * math.log(tick / edges[0]) / math.log(edges[-1] / edges[0]))
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_short(tick)}</text>')
    return _svg(title, HEIGHT, parts)


def matrix(title: str, counts: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix [true][predicted]: the count in each cell, shaded by its share of the row."""
    n = len(counts)
    cell = max(20, min(46, 400 // max(n, 1)))
    shown = [_text(name) for name in names]
    left = min(200, 30 + 7 * max(len(name) for name in shown))
    width, height = left + n * cell + 10, n * cell + 14 + left
    parts = []
    for i, row in enumerate(counts):
        y, total = 10 + i * cell, max(sum(row), 1)
        parts.append(f'<text x="{left - 8}" y="{y + cell / 2 + 4:.1f}" text-anchor="end">{shown[i]}</text>')
        for j, count in enumerate(row):
            share = count / total
            colour = "--c1" if i == j else "--c2"
            x = left + j * cell
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell - 2}" height="{cell - 2}" fill="var({colour})" '
                f'opacity="{0.06 + 0.6 * math.sqrt(share):.2f}"/>'
            )
            if count:
                middle = f'x="{x + cell / 2 - 1:.1f}" y="{y + cell / 2 + 4:.1f}"'
                parts.append(f'<text class="name" {middle} text-anchor="middle">{count}</text>')
    for j in range(n):
        middle_x, under = left + j * cell + cell / 2 + 3, 10 + n * cell + 10
        parts.append(
            f'<text transform="translate({middle_x:.1f},{under}) rotate(-60)" text-anchor="end">{shown[j]}</text>'
        )
    return _svg(title, height, parts, width)


def strips(title: str, rows: Sequence[tuple[str, Sequence[float]]]) -> str:
    """One strip a row, a column for each value (0..1), from the highest to the lowest: darker is higher, in each row."""
    step, room = 30, 120
    parts = []
    for i, (name, values) in enumerate(rows):
        y, width = 4 + i * step, (WIDTH - room - 80) / max(len(values), 1)
        top = max(values, default=0.0) or 1.0
        parts.append(f'<text x="{room - 8}" y="{y + 17}" text-anchor="end">{_text(name)}</text>')
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
    """From values to places: linear, with ticks at round numbers."""

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


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high (both above 0) for a logarithmic axis, the roundest of which there are three."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((10,), (10, 20, 50), range(10, 100, 10), range(10, 100, 5), range(10, 100)):
        found = [float(f"{digit}e{power - 1}") for power in powers for digit in digits]
        found = [tick for tick in found if low <= tick <= high]
        if len(found) >= 3:
            break
    return found


def _round_step(step: float) -> float:
    size = 10.0 ** math.floor(math.log10(step))
    return next(n * size for n in (1, 2, 2.5, 5, 10) if n * size >= step * 0.999)


def _frame(x_axis: _Axis, y_axis: _Axis, x: str, y: str, percent: bool) -> list[str]:
    parts = []
    for value in y_axis.ticks:
        at = y_axis(value)
        label = f"{100 * value:.4g} %" if percent else _short(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{at + 4:.1f}" text-anchor="end">{label}</text>')
    for value in x_axis.ticks:
        parts.append(
            f'<text x="{x_axis(value):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{_short(value)}</text>'
        )
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{_text(x, 60)}</text>')
    parts.append(f'<text x="4" y="14">{_text(y)}</text>' if y else "")
    return parts


def _legend(series: Sequence[Line]) -> str:
    if len(series) < 2:
        return ""
    items = "".join(
        f'<span><i style="background:var(--{"soft" if line.dashed else f"c{n % COLOURS + 1}"})"></i>{_text(line.name, 60)}</span>'
        for n, line in enumerate(series)
    )
    return f'<p class="legend">{items}</p>'


def _short(value: float) -> str:
    """A number on an axis: 1500000 -> 1.5M"""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * (1 if unit != "k" else 10):
            return f"{value / size:.3g}{unit}"
    return f"{value:.4g}"


def _text(text: str, longest: int = LONGEST) -> str:
    text = printable(text)
    return escape(text if len(text) <= longest else text[: longest - 1] + "…")


def _svg(title: str, height: float, parts: Sequence[str], width: float = WIDTH) -> str:
    body = "\n".join(part for part in parts if part)
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escape(title)}</title>\n{body}\n</svg>"
    )
