"""The page report.html: one file that needs no script and no network, for phones, paper and dark screens.

A section without content is left out. Untrusted names are escaped; pictures are embedded, as PNG, and charts as SVG.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.observers.evaluation_report import charts
from runtime.observers.evaluation_report.drawings import make_line_charts
from runtime.observers.evaluation_report.parts import (
    STYLE,
    format_count,
    format_ms,
    format_percent,
    format_share,
    make_table,
    points_lost,
    safe,
    section,
    side_by_side,
)  # fmt: skip
from runtime.observers.evaluation_report.png import draw_input, to_data_uri
from runtime.observers.evaluation_report.report import EvaluationReport, Mistake
from runtime.observers.evaluation_report.synops import ENERGY_SOURCE


def render_page(report: EvaluationReport) -> str:
    """Render the report of an evaluation as one HTML page."""
    r = report.evaluation
    name = _name(report)
    sections = [_head(report, name), *(part for make in SECTIONS if (part := make(report)))]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{safe(name)}: {100 * r.accuracy:.2f} %</title>\n<style>{STYLE}</style></head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _head(report: EvaluationReport, name: str) -> str:
    r = report.evaluation
    low, high = (100 * end for end in r.interval)
    tiles = [
        (f"{100 * r.accuracy:.2f} %", f"accuracy, 95 % interval {low:.1f} to {high:.1f}"),
        (f"{r.correct} of {r.samples}", "samples right"),
        (f"{r.mean_steps:.3g} of {r.T}", "steps a sample") if r.mean_steps < r.T else (f"{r.T}", "steps a sample"),
        (
            format_ms(r.latency_ms["p50"]),
            f"a call of {r.batch} sample{'s' * (r.batch > 1)}, p99 {format_ms(r.latency_ms['p99'])}",
        ),
    ]
    if r.macro_f1 is not None:
        tiles.insert(2, (f"{100 * r.macro_f1:.2f} %", "macro F1"))
    if (a := report.activity) is not None:
        dense = sum(ops.dense for ops in a.operations)
        tiles += [
            (format_count(a.synops), f"synaptic operations a sample, {100 * a.synops / dense:.1f} % of dense"),
            (f"{a.nanojoules / 1e3:.3g} µJ", "a sample: an estimate of the arithmetic"),
        ]
    if r.artifact.get("bytes"):
        tiles.append((f"{r.artifact['bytes'] / 1e6:.3g} MB", f"{safe(report.card.get('precision', ''))} on disk"))
    boxes = "".join(f'<div class="tile"><b>{value}</b><span>{text}</span></div>' for value, text in tiles)
    unreadable = r.unreadable["samples"]
    missing = (
        f"<p><b>{unreadable} recordings could not be read</b> and are in no number here.</p>" if unreadable else ""
    )
    if r.unanswered:
        missing += f"<p><b>{r.unanswered} samples have no answer</b> (no votes): they count as wrong.</p>"
    if r.lost["samples"]:
        missing += f"<p><b>{r.lost['samples']} recordings lost more than 1 % of their events.</b></p>"
    source = f"{safe(r.data)}, {safe(r.split)} split, engine {safe(r.engine)}"
    return f'<h1>{safe(name)}</h1>\n<p class="soft">{source}</p>{missing}\n<div class="tiles">{boxes}</div>'


def _classes(report: EvaluationReport) -> str:
    r = report.evaluation
    rows = [
        [safe(row["class"]), row["samples"], *(format_percent(row[key]) for key in ("precision", "recall", "f1"))]
        for row in r.per_class
    ]
    table = make_table(["class", "samples", "precision", "recall", "F1"], rows)
    matrix = charts.draw_confusion("Confusion matrix", r.confusion, r.classes) if len(r.classes) <= 60 else ""
    text = "A row is a true class, a column an answer; blue is right, red is wrong." if matrix else ""
    text += " Samples without an answer are in no column." if r.unanswered and matrix else ""
    return section("Classes", text, f'<div class="beside"><div>{matrix}</div>{table}</div>')


def _steps(report: EvaluationReport) -> str:
    shown = make_line_charts(report)
    parts = [charts.draw_lines(shown[name]) for name in ("accuracy-by-steps", "accuracy-by-events") if name in shown]
    text = f"The answer after each prefix of the first {report.traced} samples. The band is the 95 % interval."
    return section("Accuracy against time and events", text, side_by_side(parts)) if parts else ""


def _exit(report: EvaluationReport) -> str:
    chart = make_line_charts(report).get("early-exit")
    if chart is None:
        return ""
    full = report.by_steps[-1]["accuracy"]
    allowed = [row for row in report.exits if row["accuracy"] >= full - 0.005]
    chosen = min(allowed, key=lambda row: row["steps"]) if allowed else report.exits[-1]
    shown = sorted({id(row): row for row in (*report.exits[:: max(1, len(report.exits) // 7)], chosen)}.items())
    rows = [
        [f"{row['margin']:.3g}", format_percent(row["accuracy"]), f"{row['steps']:.2f}", row["lost"], row["won"]]
        for row in sorted((row for _, row in shown), key=lambda row: row["margin"])
    ]
    table = make_table(["margin", "accuracy", "mean steps", "lost", "won"], rows)
    text = (
        f"A sample ends when its first class leads the second by the margin, a share of all spikes that could vote. On these "
        f"{report.traced} samples a margin of {chosen['margin']:.3g} takes {100 * chosen['steps_share']:.0f} % of the steps "
        f"and {points_lost(full - chosen['accuracy'])}. A margin is chosen on other data: plif eval --calibrate-exit."
    )
    return section("Early exit", text, side_by_side([charts.draw_lines(chart), table]))


def _scores(report: EvaluationReport) -> str:
    if not report.reliability or report.ece is None:
        return ""
    chart = charts.draw_lines(make_line_charts(report)["calibration"])
    rows = [
        [
            f"{row['from']:.1f} to {row['to']:.1f}",
            row["samples"],
            f"{row['score']:.3f}",
            format_percent(row["accuracy"]),
        ]
        for row in report.reliability
    ]
    table = make_table(["score", "samples", "mean score", "accuracy"], rows)
    text = (
        f"How often an answer of each score is right. Expected calibration error (ECE) {report.ece:.3f}: the mean distance "
        "from the diagonal. Above the diagonal the score says less than the network knows; it is a share of spikes, no "
        "probability."
    )
    return section("What a score is worth", text, side_by_side([chart, table]))


def _latency(report: EvaluationReport) -> str:
    edges, counts = report.times
    if not counts:
        return ""
    chart = charts.draw_histogram("Time of the engine for a sample", "milliseconds a sample", "samples", edges, counts)
    text = "Time in the engine: the calls of a batch, divided by the samples in it. Reading is not in it."
    return section("Time", text, chart)


def _worst(report: EvaluationReport) -> str:
    if not report.mistakes:
        return ""
    wrong = report.evaluation.samples - report.evaluation.correct - report.evaluation.unanswered
    text = f"{len(report.mistakes)} of {wrong} wrong answers, the surest first: blue ON and red OFF events, all frames together."
    return section(
        "Worst mistakes",
        text,
        f'<div class="mistakes">{"".join(_mistake(mistake, report.evaluation.classes) for mistake in report.mistakes)}</div>',
    )


def _mistake(mistake: Mistake, classes: Sequence[str]) -> str:
    p = mistake.prediction
    assert p.truth is not None and p.predicted is not None
    truth, answer = classes[p.truth], classes[p.predicted]
    return (
        f'<figure><img src="{to_data_uri(draw_input(mistake.picture))}" alt="sample {p.sample}">'
        f"<figcaption><b>{safe(answer)}</b>, "
        f"is {safe(truth)}<br>lead {p.margin or 0:.2f}<br>"
        f"{_short_path(p.path)}</figcaption></figure>"
    )


def _short_path(path: str) -> str:
    """Return the last folder and the file name of a path: /data/Test/3/13.bin -> 3/13.bin."""
    return safe("/".join(path.split("/")[-2:]))


def _neurons(report: EvaluationReport) -> str:
    if report.activity is None:
        return ""
    a = report.activity
    rows = [
        [
            safe(layer.layer),
            "x".join(map(str, layer.shape)),
            f"{100 * layer.rate:.2f} %",
            *(format_share(n, layer.neurons) for n in (layer.dead, layer.saturated, layer.bias_driven)),
        ]
        for layer in a.layers
    ]
    table = make_table(["layer", "neurons", "rate", "dead", "saturated", "bias-driven"], rows)
    strips = charts.draw_strips("Firing rate of each channel", [(layer.layer, layer.channels) for layer in a.layers])
    text = (
        f"Over {a.samples} samples, {a.steps} steps. Dead: never fired. Saturated: in 95 % of the steps or more. Bias-driven: "
        "fires without any input. The strips show each layer's channels (or neurons) from the busiest to the quietest."
    )
    return section("Neurons", text, f"{table}{strips}")


def _operations(report: EvaluationReport) -> str:
    if report.activity is None:
        return ""
    ops = report.activity.operations
    rows = [
        [
            safe(layer.layer),
            layer.kind,
            format_count(layer.effective),
            format_count(layer.dense),
            f"{100 * layer.effective / layer.dense:.2f} %",
            f"{100 * layer.density:.2f} %",
            f"{layer.picojoules / 1e6:.3g}",
        ]
        for layer in ops
    ]
    total, dense = report.activity.synops, sum(layer.dense for layer in ops)
    share, microjoules = f"{100 * total / dense:.2f} %", f"{report.activity.nanojoules / 1e3:.3g}"
    rows.append(["all", "", format_count(total), format_count(dense), share, "", microjoules])
    table = make_table(["layer", "kind", "effective", "dense", "share", "inputs not 0", "µJ (estimate)"], rows)
    uncounted = report.activity.not_counted
    note = f" Not counted: {safe(', '.join(uncounted))}." if uncounted else ""
    text = (
        "Counted from the spikes that arrived and the weights that are not zero, per sample, as NeuroBench defines it; AC adds, "
        f"MAC multiplies and adds.{note} The energy is an estimate of this arithmetic alone, without memory and neurons: "
        f"{safe(ENERGY_SOURCE)}. The same network computed densely: {report.activity.dense_nanojoules / 1e3:.3g} µJ."
    )
    return section("Synaptic operations", text, table)


def _against(report: EvaluationReport) -> str:
    against = report.evaluation.against
    if against is None:
        return ""
    text = (
        f"Against {safe(against['path'])}: {against['decisions_changed']} of "
        f"{len(report.evaluation.predictions)} decisions differ; "
        f"{against['only_here']} are right only here, {against['only_there']} only there. Its accuracy is "
        f"{100 * against['accuracy']:.2f} %. McNemar's exact test: p = {against['p']:.3g}, "
        + ("no" if against["p"] >= 0.05 else "a")
        + " difference beyond chance (at 5 %)."
    )
    rows = [
        [_short_path(row["path"]), *(safe(str(row[key])) for key in ("truth", "this", "other"))]
        for row in report.changed[:20]
    ]
    return section(
        "Against another network", text, make_table(["sample", "truth", "this", "the other"], rows) if rows else ""
    )


def _stress(report: EvaluationReport) -> str:
    kinds = list(dict.fromkeys(row["stress"] for row in report.stress))
    if not kinds:
        return ""
    parts: list[str] = []
    pairs: list[tuple[str, float]] = []
    shown = make_line_charts(report)
    for kind in kinds:
        chart = shown.get(f"stress-{kind}")
        if chart is not None:
            parts.append(f"<div><p><b>{safe(chart.title)}</b></p>{charts.draw_lines(chart)}</div>")
        else:
            rows = [row for row in report.stress if row["stress"] == kind]
            pairs += [(f"{kind}" if row["level"] else "as it is", row["accuracy"]) for row in rows[len(pairs) > 0 :]]
    if pairs:
        names, values = [name for name, _ in pairs], [value for _, value in pairs]
        bars = charts.draw_bars("Mirrored and swapped", names, values, texts=[f"{100 * v:.1f} %" for v in values])
        parts.append(f"<div><p><b>mirrored, and with ON and OFF swapped</b></p>{bars}</div>")
    text = f"The first {report.stress[0]['samples']} samples, with their events changed before they become frames."
    return section("Under stress", text, side_by_side(parts))


def _about(report: EvaluationReport) -> str:
    r, card = report.evaluation, report.card
    rows: list[list[str | None]] = [
        ["command", report.command],
        ["artifact", f"{r.artifact.get('path')}, SHA-256 {r.artifact.get('sha256')}" if r.artifact else None],
        ["digest", r.artifact.get("digest")],
        ["network", card.get("notation")],
        ["framing", card.get("framing")],
        ["data", f"{r.data_list.get('samples')} samples, list SHA-256 {r.data_list.get('sha256')}"],
        ["versions", ", ".join(f"{k} {v}" for k, v in r.versions.items())],
    ]
    provenance = card.get("provenance")
    if isinstance(provenance, dict):
        rows += [[f"provenance: {key}", str(value)] for key, value in provenance.items()]
    rows += [["not measured", text] for text in report.left_out]
    lines = "".join(f"<p><b>{safe(str(key))}</b> <code>{safe(str(value))}</code></p>" for key, value in rows if value)
    return section("Where these numbers come from", "", lines)


SECTIONS = (
    _classes, _steps, _exit, _scores, _worst, _against, _stress, _neurons, _operations, _latency, _about,
)  # fmt: skip


def _name(report: EvaluationReport) -> str:
    return str(report.evaluation.artifact.get("path", "network")).replace("\\", "/").rsplit("/", 1)[-1]
