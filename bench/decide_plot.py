"""The picture of bench/decide.py: false alarms against onset to label, for each rule."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.core.stream.options import LIVE_RULES


def plot(rows: list[dict[str, Any]], path: Path, title: str) -> None:
    """Plot false alarms against the time from onset to label. The numbered rules are the Pareto front."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator

    negatives = bool(rows[0]["negatives"])
    key = "false_labels"
    rows = [{**row, key: (row["negatives"][0] if negatives else row["idle"])["per_min"]} for row in rows]
    rows = [row for row in rows if row["onset_p50_ms"] is not None and row[key] is not None]
    if not rows:
        raise SystemExit(f"{path}: nothing to draw: no rule has both a right label and a time without any")
    best = max(row["accuracy"] for row in rows)
    front: list[dict[str, Any]] = []
    for row in sorted(rows, key=lambda row: (row["onset_p50_ms"], row[key], -row["accuracy"])):
        if row["accuracy"] >= best - 0.05 and (not front or row[key] < front[-1][key]):
            front.append(row)
    figure, axis = plt.subplots(figsize=(8, 4.6 + 0.2 * len(front)))
    low = min(row["accuracy"] for row in rows)
    for kind, marker in (("leak", "o"), ("kofn", "s"), ("sum", "^"), ("own", "D"), ("cusum", "v")):
        mine = [row for row in rows if row["rule"].startswith(kind)]
        if mine:
            x, y = [row[key] for row in mine], [row["onset_p50_ms"] for row in mine]
            p95 = [row["onset_p95_ms"] - row["onset_p50_ms"] for row in mine]
            axis.errorbar(x, y, [[0] * len(p95), p95], fmt="none", ecolor="0.85", zorder=0)
            colour = [row["accuracy"] for row in mine]
            dots = axis.scatter(x, y, c=colour, vmin=low, vmax=1, marker=marker, cmap="viridis", label=kind, s=36)
    for row in rows:
        if row["rule"] == LIVE_RULES[0]:
            label = f"{row['rule']}, a feed's default"
            axis.scatter(
                [row[key]], [row["onset_p50_ms"]], marker="o", s=130, facecolor="none", edgecolor="#c2410c", label=label
            )
    for number, row in enumerate(front, 1):
        where = (row[key], row["onset_p50_ms"])
        axis.annotate(str(number), where, fontsize=9, xytext=(-4, 7), textcoords="offset points", weight="bold")
    lines = [
        f"{number:2}  {row['rule']:34}{row['onset_p50_ms']:5.0f} ms {row[key]:6.1f} a minute {100 * row['accuracy']:6.1f} % right"
        for number, row in enumerate(front, 1)
    ]
    axis.set_xlabel(f"false alarms a minute, on {'recordings of none of it' if negatives else 'idle stretches'}")
    axis.set_ylabel("onset to label (ms):\nmedian, line to the 95th percentile")
    axis.set_xscale("symlog", linthresh=2)
    axis.set_yscale("symlog", linthresh=50)
    for along, ticks in (
        (axis.xaxis, (0, 1, 2, 5, 10, 20, 50, 100)),
        (axis.yaxis, (0, 25, 50, 100, 200, 500, 1000, 2000)),
    ):
        along.set_major_locator(FixedLocator(ticks))
        along.set_major_formatter("{x:g}")
        along.set_minor_locator(NullLocator())
    axis.set_xlim(left=-0.2)
    axis.set_ylim(bottom=-5)
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    figure.colorbar(dots, ax=axis, label="spans with the right label most of the time")
    axis.set_title(title, fontsize=9)
    figure.supxlabel("\n".join(lines), fontsize=8, family="monospace", x=0.04, ha="left")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
