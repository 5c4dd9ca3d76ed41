"""docs/performance.md from the results of the benches: tables, and the figures of bench/report_plots.py.

Every section depends on its own part only; without its result it is one line that says what to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import report_plots as plots
from bench import report_roofline
from bench.report_pieces import Report, Results, about, measured_on, missing, ms, only, table, times
from runtime.core.base.files import atomic_write

CONTROL = "event again"  # the event engine, opened twice: its noise is one sentence, not a row
WORKLOADS = {"gesture": "The paper's Gesture network", "trained": "A trained network on real recordings"}


def write_page(path: Path, figures: Path, results: Results) -> None:
    figures.mkdir(parents=True, exist_ok=True)
    sections = [
        _head(results),
        *[_step(name, results, figures) for name in WORKLOADS],
        _density(results, figures),
        _silence(results),
        _streams(results, figures),
        report_roofline.dense(results, figures),
        report_roofline.additions(results),
        _events(results),
        _startup(results),
        _eval(results),
        _train(results),
    ]
    with atomic_write(path) as (part,):
        part.write_text("\n\n".join(section for section in sections if section).rstrip() + "\n")


def _head(results: Results) -> str:
    text = [
        "# Performance",
        "Read this if you want to know how fast plif is next to other engines.",
        "`make performance` measures everything and writes this page. Times are milliseconds of the Python call with the copy of "
        "its input. The rows of a table were measured in turn. So compare ratios within a table, not times across "
        "tables. Precision is fp32 unless a row names another. Engines that skip zeros need low "
        "firing rates. "
        "int8 and bf16 round differently, so their spikes differ; decisions may not. "
        "[Engines](engines.md) explains the default engine.",
    ]
    machine = measured_on(results)
    if machine:
        keys = ("processor", "cores", "event_path", "system", "python")
        packages = [k for k in machine if k not in (*keys, "features")]
        rows = [[key.replace("_", " "), machine[key]] for key in keys if key in machine]
        rows.append(["versions", ", ".join(f"{k} {machine[k]}" for k in packages)])
        text.append(table(["", "measured on"], rows))
    return "\n\n".join(text)


def _step(name: str, results: Results, figures: Path) -> str:
    title = f"One step at batch 1: {WORKLOADS[name][0].lower() + WORKLOADS[name][1:]}"
    found = {n: r for n in (1, 2) if (r := only(results, f"step-{name}-{n}"))}
    if not found:
        return missing(title, f"python bench/step.py --workload {name}")
    one = next(iter(found.values()))
    rates = " ".join(f"{100 * rate:.1f}" for rate in one["firing_rates"].values())
    names = list(dict.fromkeys(row["name"] for report in found.values() for row in report["rows"]))
    head, body = ["engine"], []
    for n in found:
        head.append(f"{n} thread{'s' * (n > 1)}, p50 (p99) ms")
    head += ["event fp32 is x faster, 1 thread", "spikes that differ (excused)"]
    by = {(n, row["name"]): row for n, report in found.items() for row in report["rows"]}
    names.sort(key=lambda label: min(by[n, label]["p50_ms"] for n in found if (n, label) in by))
    for label in names:
        if label == CONTROL:
            continue
        first = next(by[n, label] for n in found if (n, label) in by)
        cells: list[Any] = [
            label if first["precision"] in ("fp32", *label.split()) else f"{label} ({first['precision']})"
        ]
        for n in found:
            row = by.get((n, label))
            cells.append(f"{ms(row['p50_ms'])} ({ms(row['p99_ms'])})" if row else "")
        row, event = by.get((1, label)), by.get((1, "event fp32"))
        cells.append(times(row["p50_ms"] / event["p50_ms"]) if row and event else "")
        excused = f" ({first['excused']})" if first["excused"] else ""
        body.append([*cells, f"{first['spike_mismatches']}{excused}"])
    plots.step(figures / f"step-{name}.svg", found)
    parts = [
        f"## {title}",
        f"`{one['network']}`, {one['weights']}, on {one['input']}. Firing rates, layer by layer: {rates} %; "
        f"{100 * one['input_nonzero']:.1f} % of the input is not zero. Each engine ran {one['steps_timed']} steps. Spikes "
        f"are compared with eager PyTorch over {one['neuron_steps_compared']:,} neuron-steps.",
        table(head, body),
        f"![p50 of one step, engine by engine](performance/step-{name}.svg)",
        _control(found),
        about(results, *(f"step-{name}-{n}" for n in found)),
    ]
    return "\n\n".join(parts)


def _control(found: dict[int, Report]) -> str:
    """Return the table of the same engine measured twice: the noise of a comparison."""
    said = []
    for n, report in found.items():
        by = {row["name"]: row["p50_ms"] for row in report["rows"]}
        if "event fp32" in by and CONTROL in by:
            said.append(f"{100 * abs(by[CONTROL] / by['event fp32'] - 1):.1f} % at {n} thread{'s' * (n > 1)}")
    return f"Opened twice, the event engine differs from itself by {' and '.join(said)}." if said else ""


def _density(results: Results, figures: Path) -> str:
    title = "Time against firing rate"
    report = only(results, "density")
    if report is None:
        return missing(title, "python bench/density.py")
    rows = report["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    targets = list(dict.fromkeys(row["target_rate"] for row in rows))
    by = {(row["name"], row["target_rate"]): row for row in rows}
    head = ["firing rate, % (pooled)", *names, *[f"{n} / event fp32" for n in ("SpikingJelly",) if n in names]]
    body = []
    for target in targets:
        here = [by.get((name, target)) for name in names]
        one = next(row for row in here if row)
        cells = [
            f"{100 * one['rate']:.1f} ({100 * one['pooled']:.1f})",
            *[ms(r["p50_ms"]) if r else "" for r in here],
        ]
        if "SpikingJelly" in names:
            cells.append(times(by["SpikingJelly", target]["p50_ms"] / by["event fp32", target]["p50_ms"]))
        body.append(cells)
    plots.density(figures / "density.svg", report)
    return "\n\n".join(
        [
            f"## {title}",
            "The Gesture network, all layers tuned to one firing rate; p50 of a step in ms, "
            f"{rows[0]['threads']} thread. In brackets: the rate after 2x2 max-pooling, which the next convolution reads.",
            table(head, body),
            "![p50 of one step against the firing rate](performance/density.svg)",
            about(results, "density"),
        ]
    )


def _silence(results: Results) -> str:
    title = "Silence"
    report = only(results, "silence")
    if report is None:
        return missing(title, "python bench/silence.py")
    by = {(row["engine_name"], row["phase"]): row["p50_ms"] for row in report["rows"]}
    names = list(dict.fromkeys(row["engine_name"] for row in report["rows"]))
    phases = ("active", "silent", "from reset")
    rates = ", ".join(f"{100 * next(r['rate'] for r in report['rows'] if r['phase'] == p):.1f}" for p in phases)
    body = []
    for name in names:
        ratio = times(by[name, "silent"] / by["event fp32", "silent"]) if ("event fp32", "silent") in by else ""
        body.append([name, *[ms(by.get((name, phase))) for phase in phases], ratio])
    return "\n\n".join(
        [
            f"## {title}",
            f"p50 of a step in ms, {report['rows'][0]['threads']} thread: active; after 80 silent steps (membranes decay); "
            "without an event since reset. "
            "The Gesture network has no shifts in its batch normalisations here, so it falls silent without input (mean "
            f"firing rates {rates} %).",
            table(["engine", *phases, "event fp32 is x faster in silence"], body),
            about(results, "silence"),
        ]
    )


def _streams(results: Results, figures: Path) -> str:
    title = "Many streams"
    report = only(results, "streams")
    if report is None:
        return missing(title, "python bench/streams.py")
    rows = report["rows"]
    by = {(row["name"], row["threads"], row["streams"]): row for row in rows}
    kinds = list(dict.fromkeys((row["name"], row["threads"]) for row in rows))
    counts = list(dict.fromkeys(row["streams"] for row in rows))
    body = []
    for count in counts:
        cells = [by.get((*kind, count)) for kind in kinds]
        body.append([count, *[f"{row['steps_per_s']:.0f}" if row else "" for row in cells]])
    said = [
        f"{name} {by[name, 2, 16]['steps_per_s'] / by[name, 1, 16]['steps_per_s']:.2f}"
        for name in dict.fromkeys(name for name, _ in kinds)
        if (name, 1, 16) in by and (name, 2, 16) in by
    ]
    differ = sum(row["spike_mismatches"] or 0 for row in rows)
    plots.streams(figures / "streams.svg", report)
    return "\n\n".join(
        [
            f"## {title}",
            "Steps per second of all streams of one session together (from the p50).",
            table(["streams", *[f"{name}, {n} thread{'s' * (n > 1)}" for name, n in kinds]], body),
            "![throughput against streams](performance/streams.svg)",
            (f"Gain of the second thread at 16 streams: {', '.join(said)} times. " if said else "")
            + f"Outputs and membranes of the event engine that differ from the same stream alone: {differ}.",
            about(results, "streams"),
        ]
    )


def _events(results: Results) -> str:
    title = "From packet to frame"
    report = only(results, "events")
    if report is None:
        return missing(title, "python bench/events.py")
    body = [[row["name"], f"{row['million_events_per_s']:.1f}"] for row in report["rows"]]
    return "\n\n".join(
        [
            f"## {title}",
            "Million events a second, one thread.",
            table(["job", "million events a second"], body),
            about(results, "events"),
        ]
    )


def _startup(results: Results) -> str:
    title = "Start-up"
    report = only(results, "startup")
    if report is None:
        return missing(title, "python bench/startup.py")
    nothing = next(row["p50_ms"] for row in report["rows"] if row["name"].startswith("python"))
    body = [
        [
            f"`{row['name']}`" if "import" in row["name"] else row["name"],
            f"{row['p50_ms']:.0f}",
            f"{row['p50_ms'] - nothing:.0f}",
        ]
        for row in report["rows"]
    ]
    return "\n\n".join(
        [
            f"## {title}",
            "Whole life of a fresh process, p50 in ms. A first answer is one step of the Gesture network. "
            "`import runtime` does not import NumPy.",
            table(["process", "ms", "more than Python alone"], body),
            about(results, "startup"),
        ]
    )


def _eval(results: Results) -> str:
    title = "Evaluation"
    reports = [report for name in ("eval", "eval-gesture") if (report := only(results, name)) is not None]
    if not reports:
        return missing(title, "python bench/eval.py")
    parts = [
        f"## {title}",
        "Whole data sets, from recordings on disk to predictions, with the start of worker processes. "
        "`plif eval` chooses batch, workers and threads. The loops of PyTorch and SpikingJelly read with NumPy and run in their "
        "quickest form on both cores. The quickest loop has operations of PyTorch or SpikingJelly alone, not plif's training "
        "kernels. Votes of the random Gesture network can tie, so another rounding may change an answer.",
    ]
    for report in reports:
        body = [
            [row["name"], f"{row['batch']}/{row['workers']}/{row['threads']}", ms(row["samples_per_s"]),
             times(row["times_quickest_loop"]), row["answers_changed"]]
            for row in sorted(report["rows"], key=lambda row: -row["samples_per_s"])
        ]  # fmt: skip
        what = {"digits": "The shipped digits network", "gesture": "The paper's Gesture network, random weights"}
        accuracy = " and ".join(dict.fromkeys(f"{100 * row['accuracy']:.2f} %" for row in report["rows"]))
        parts.append(f"{what[report['network']]}, {report['samples']:,} simulated recordings; accuracy {accuracy}:")
        head = [
            "",
            "batch/workers/threads",
            "samples/s",
            "x the quickest loop",
            "answers that differ",
        ]
        parts.append(table(head, body))
    return "\n\n".join([*parts, about(results, "eval", "eval-gesture")])


def _train(results: Results) -> str:
    title = "Training"
    names = sorted(name for name in results if name.startswith("train-"))
    if not names:
        return missing(title, "python bench/train.py --presets all")
    rows = [(row, results[name]["reports"][0]) for name in names for row in results[name]["reports"][0]["rows"]]
    order = list(dict.fromkeys(row["preset"] for row, _ in rows))
    rows.sort(key=lambda pair: order.index(pair[0]["preset"]))
    sides = list(dict.fromkeys(side for row, _ in rows for side in row["median_s"]))
    body = [
        [row["preset"], row["precision"], report["threads"], f"{row['spikes']:.1%}",
         *[f"{row['median_s'][s]:.3f}" if s in row["median_s"] else "" for s in sides], times(row["faster"]),
         times(row["of_floor"]) if "of_floor" in row else ""]
        for row, report in rows
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"## {title}",
            "Seconds of one training step (median): forward, backward, Adam, reset; batch "
            f"{', '.join(str(n) for n in dict.fromkeys(row['batch'] for row, _ in rows))}. `plif` and SpikingJelly normalise "
            "over T x N, `plif per-step` as the authors do. `floor` is dense convolutions and products alone. `spikes` is the "
            "nonzero share of the inputs of plif's later convolutions. The networks are untrained and fire more than trained "
            "ones; rows with fewer spikes have a higher threshold.",
            table(
                [
                    "network",
                    "precision",
                    "threads",
                    "spikes",
                    *sides,
                    "plif is x faster",
                    "plif is x the floor",
                ],
                body,
            ),
            about(results, *names),
        ]
    )
