"""The line charts of a report, by the names of their CSV files: the page draws them as SVG, a paper as PDF."""

from __future__ import annotations

from collections.abc import Sequence

from runtime.observers.evaluation_report.charts import Line, LineChart
from runtime.observers.evaluation_report.curves import Row
from runtime.observers.evaluation_report.report import EvaluationReport


def make_line_charts(report: EvaluationReport) -> dict[str, LineChart]:
    """Make the line charts of an evaluation report, {name: chart}, for the curves that have data.

    A stress with levels has the name "stress-KIND".
    """
    charts: dict[str, LineChart] = {}

    def add(name: str, title: str, x: str, series: Sequence[Line], low: float | None = None) -> None:
        charts[name] = LineChart(title, x, "accuracy", series, low)

    if len(report.by_steps) > 1:
        line = _line("accuracy", report.by_steps, "steps")
        add("accuracy-by-steps", "Accuracy against time-steps", "time-steps seen", [line])
    if report.by_events:
        x = "active pixels" if "binary" in str(report.card.get("framing")) else "events"
        line = _line("accuracy", report.by_events, "events")
        add("accuracy-by-events", "Accuracy against events", f"{x} of each sample seen", [line], low=0)
    if len(report.exits) > 1:
        line, full = _line("with an early exit", report.exits, "steps"), report.by_steps[-1]["accuracy"]
        reference = Line("all steps", [(line.points[0][0], full), (line.points[-1][0], full)], dashed=True)
        title = "Accuracy against the mean number of steps, with an early exit"
        add("early-exit", title, "mean steps a sample", [line, reference])
    if report.reliability:
        line, ideal = (
            _line("measured", report.reliability, "score"),
            Line("score = accuracy", [(0, 0), (1, 1)], dashed=True),
        )
        title = "Reliability: accuracy against score"
        add("calibration", title, "score (share of votes)", [line, ideal], low=0)
    for kind in dict.fromkeys(row["stress"] for row in report.stress):
        rows = [row for row in report.stress if row["stress"] == kind]
        if len(rows) > 2:
            add(
                f"stress-{kind}",
                f"Accuracy where {rows[0]['what']}",
                rows[0]["unit"],
                [_line(kind, rows, "level")],
                low=0,
            )
    return charts


def _line(name: str, rows: Sequence[Row], x: str) -> Line:
    return Line(name, [(row[x], row["accuracy"]) for row in rows], [(row["low"], row["high"]) for row in rows])
