"""The figures of docs/performance.md. SVG, and the same bytes for the same numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Report = dict[str, Any]

plt.rcParams.update({"svg.hashsalt": "plif", "svg.fonttype": "path", "font.size": 9, "axes.spines.top": False})
plt.rcParams.update({"axes.spines.right": False, "legend.frameon": False, "axes.axisbelow": True})
OURS, OTHERS, REST = "#c2410c", "#475569", "#94a3b8"
COLOURS = {
    "event fp32": "#c2410c",
    "event int8": "#f59e0b",
    "onnxruntime fp32": "#0f766e",
    "onnxruntime int8": "#5eead4",
    "SpikingJelly": "#475569",
}
MARKERS = ("o", "s", "^", "D", "v", "P")


def _save(figure: plt.Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    if preview := os.environ.get("PLIF_BENCH_PREVIEW"):  # a folder for PNGs, to look at
        figure.savefig(Path(preview) / f"{path.stem}.png", dpi=110)
    plt.close(figure)


def _colour(name: str, i: int) -> str:
    return COLOURS.get(name, f"C{i}")


def _label(row: dict[str, Any]) -> str:
    """Return the row's name, with its precision if the name does not imply it."""
    usual = row["precision"] == "fp32" or row["precision"] in row["name"]
    return str(row["name"]) if usual else f"{row['name']} ({row['precision']})"


def step(path: Path, found: dict[int, Report]) -> None:
    """Bars up to p50 and whiskers up to p99, in a panel for each number of threads."""
    figure, axes = plt.subplots(1, len(found), figsize=(4.6 * len(found), 3.4), squeeze=False)
    for axis, (threads, report) in zip(axes[0], found.items(), strict=True):
        rows = sorted((r for r in report["rows"] if r["name"] != "event again"), key=lambda r: -r["p50_ms"])
        values = [r["p50_ms"] for r in rows]
        colours = [
            OURS if r["name"].startswith("event") else OTHERS if r["precision"] == "fp32" else REST for r in rows
        ]
        axis.barh(range(len(rows)), values, color=colours, height=0.7)
        axis.set_yticks(range(len(rows)), [_label(r) for r in rows])
        for i, value in enumerate(values):
            axis.text(value, i, f" {value:.3g}", va="center", fontsize=8)
        axis.set_xlim(0, 1.15 * max(values))
        axis.set_xlabel(f"p50 of a step, ms; {threads} thread{'s' * (threads > 1)}")
    _save(figure, path)


def density(path: Path, report: Report) -> None:
    figure, axis = plt.subplots(figsize=(5.6, 3.6))
    names = list(dict.fromkeys(row["name"] for row in report["rows"]))
    for i, name in enumerate(names):
        rows = [row for row in report["rows"] if row["name"] == name]
        axis.plot(
            [100 * row["rate"] for row in rows], [row["p50_ms"] for row in rows],
            marker=MARKERS[i % len(MARKERS)], ms=4, label=name, color=_colour(name, i),
        )  # fmt: skip
    _logarithmic(axis, "firing rate of the neurons, %", "p50 of a step, ms")
    axis.legend(fontsize=8)
    _save(figure, path)


def streams(path: Path, report: Report) -> None:
    figure, axis = plt.subplots(figsize=(7.6, 3.6))
    kinds = list(dict.fromkeys((row["name"], row["threads"]) for row in report["rows"]))
    for i, (name, threads) in enumerate(kinds):
        rows = [row for row in report["rows"] if (row["name"], row["threads"]) == (name, threads)]
        axis.plot(
            [row["streams"] for row in rows], [row["steps_per_s"] for row in rows],
            marker=MARKERS[i % len(MARKERS)], ms=4, ls="-" if threads == 1 else "--", color=_colour(name, i),
            label=f"{name}, {threads} thread{'s' * (threads > 1)}",
        )  # fmt: skip
    _logarithmic(axis, "streams", "steps of a stream per second")
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the lines, not on them
    _save(figure, path)


def _logarithmic(axis: Axes, x: str, y: str) -> None:
    axis.set_xscale("log")
    axis.set_yscale("log")
    for one in (axis.xaxis, axis.yaxis):
        one.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        one.set_minor_formatter(matplotlib.ticker.NullFormatter())
    axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
    axis.grid(True, color="#e2e8f0", lw=0.6)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


# --- the roofline ---------------------------------------------------------------------------------------------------


def peak(roof: Report, precision: str) -> float:
    """Return the best measured rate, in operations a second."""
    return 1e9 * max(r["rate"] for r in roof["rows"] if r["precision"] == precision and r["unit"] == "GOP/s")


def bandwidth(roof: Report, megabytes: str) -> float:
    return 1e9 * next(r["rate"] for r in roof["rows"] if r["name"].startswith(f"memory, {megabytes} MB"))


def floor_ms(roof: Report, precision: str) -> float:
    return 1e3 * roof["operations"] / peak(roof, precision)


def membrane_ms(roof: Report, megabytes: str) -> float:
    return 1e3 * 8 * roof["neurons"] / bandwidth(roof, megabytes)


def intensity(roof: Report, precision: str) -> float:
    """Operations for each byte that a dense step must move: membranes in and out (fp32), weights once."""
    size = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}.get(precision, 4)
    return roof["operations"] / (8 * roof["neurons"] + size * roof["weights"])


def roofline(path: Path, roof: Report, step_report: Report) -> None:
    figure, axis = plt.subplots(figsize=(7.6, 4.6))
    shades = {"fp32": "#334155", "bf16": "#64748b", "int8": "#94a3b8"}
    peaks = {precision: peak(roof, precision) / 1e9 for precision in shades}
    rows = sorted((r for r in step_report["rows"] if r["name"] != "event again"), key=lambda r: r["p50_ms"])
    rates = [roof["operations"] / row["p50_ms"] / 1e6 for row in rows]
    left, right = 0.5, 260.0
    bottom, top = min(*rates, *peaks.values()) / 2, 2 * max(*rates, *peaks.values())
    for name, megabytes, style in (("caches", "11", "-"), ("DRAM", "400", "--")):
        rate = bandwidth(roof, megabytes) / 1e9
        ends = max(left, bottom / rate), max(peaks.values()) / rate
        axis.plot(ends, [rate * end for end in ends], color="#94a3b8", ls=style, lw=1)
        axis.text(1.25 * ends[0], rate * ends[0], f" {name}, {rate:.0f} GB/s", fontsize=8, color="#64748b", va="bottom")
    ceiling = 0.0  # labels of roofs that are close stand above and below them
    for precision, colour in sorted(shades.items(), key=lambda item: peaks[item[0]], reverse=True):
        rate = peaks[precision]
        below = 0 < ceiling < 1.5 * rate
        axis.plot([rate / (bandwidth(roof, "11") / 1e9), right], [rate] * 2, color=colour, lw=1.4)
        axis.text(
            right, rate * (0.93 if below else 1.05), f"{precision} roof, {rate:.0f} GOP/s ", fontsize=8,
            color=colour, ha="right", va="top" if below else "bottom",
        )  # fmt: skip
        ceiling = rate
    label_at = top
    for row, rate in zip(rows, rates, strict=True):
        label_at = min(rate, label_at / (top / bottom) ** 0.045)  # labels do not cover each other
        at, mine = intensity(roof, row["precision"]), row["name"].startswith("event")
        axis.plot([at], [rate], marker="o" if mine else "s", ms=6, color=OURS if mine else OTHERS)
        axis.annotate(
            f"{_label(row)} ({row['p50_ms']:.3g} ms)", (at, rate), (1.2 * right, label_at), fontsize=8, va="center",
            arrowprops={"arrowstyle": "-", "color": "#cbd5e1", "lw": 0.6},
        )  # fmt: skip
    _logarithmic(axis, "operations per byte of a dense step", "GOP/s, counted as if dense")
    axis.set_xlim(left, 3500)
    axis.set_ylim(bottom, top)
    axis.set_xticks([1, 10, 100])
    _save(figure, path)
