"""docs/performance.md from the results of the benches: tables, and the figures of bench/report_plots.py.

Every section depends on its own part only; without its result it is one line that says what to run.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import report_plots as plots
from bench import report_roofline
from bench.report_pieces import Report, Results, about, measured_on, missing, ms, only, table, times
from runtime.core.base.files import whole_or_nothing

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
    with whole_or_nothing(path) as (part,):
        part.write_text("\n\n".join(section for section in sections if section).rstrip() + "\n")


def _head(results: Results) -> str:
    text = [
        "# Performance",
        "This page is written by `python bench/report.py` (`make performance`), which runs the scripts of `bench/` and "
        "fills in what they measured; nothing here is typed by hand. Times are milliseconds of the Python call, including the "
        "copy of the input. All rows of a table were measured in turn, in one process per number of threads, so *ratios* "
        "within a table are more reliable than times, and ratios across tables are less so. Engines that skip zeros depend on "
        "low firing rates, so the rates are given with every table. docs/engines.md says which engine is taken by default, "
        "docs/event-engine.md how the event engine works.",
    ]
    machine = measured_on(results)
    if machine:
        keys = ("processor", "cores", "features", "event_path", "system", "python")
        packages = [k for k in machine if k not in keys]
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
    head, body = ["engine", "precision"], []
    for n in found:
        head += [f"{n} thread{'s' * (n > 1)}, p50 (p99) ms", "event fp32 is x faster"]
    head.append("spikes that differ (excused)")
    by = {(n, row["name"]): row for n, report in found.items() for row in report["rows"]}
    for label in names:
        first = next(by[n, label] for n in found if (n, label) in by)
        cells: list[Any] = [label, first["precision"]]
        for n in found:
            row, event = by.get((n, label)), by.get((n, "event fp32"))
            cells += [f"{ms(row['p50_ms'])} ({ms(row['p99_ms'])})" if row else ""]
            cells += [times(row["p50_ms"] / event["p50_ms"]) if row and event else ""]
        excused = f" ({first['excused']})" if first["excused"] else ""
        body.append([*cells, f"{first['spike_mismatches']}{excused}"])
    body.sort(key=lambda cells: min((r["p50_ms"] for (_, label), r in by.items() if label == cells[0]), default=0.0))
    plots.step(figures / f"step-{name}.svg", found)
    parts = [
        f"## {title}",
        f"`{one['network']}`, {one['weights']}, on {one['input']}. Firing rates, layer by layer: {rates} %; "
        f"{100 * one['input_nonzero']:.1f} % of the input is not zero. {one['steps_timed']} steps of each engine; spikes "
        f"compared with eager PyTorch's over {one['neuron_steps_compared']:,} neuron-steps.",
        table(head, body),
        f"![p50 of one step, engine by engine](performance/step-{name}.svg)",
        _control(found),
        about(results, *(f"step-{name}-{n}" for n in found)),
    ]
    if any(row["precision"] not in ("fp32",) for row in by.values()):
        parts.insert(
            -1,
            "Engines in other precisions than fp32 have other weights (int8) or other sums (bf16): their spikes that differ show "
            "that they are not bit-equal, not how many decisions change.",
        )
    return "\n\n".join(parts)


def _control(found: dict[int, Report]) -> str:
    """The same engine twice: how large a difference by noise is."""
    said = []
    for n, report in found.items():
        by = {row["name"]: row["p50_ms"] for row in report["rows"]}
        if "event fp32" in by and "event again" in by:
            said.append(f"{100 * abs(by['event again'] / by['event fp32'] - 1):.1f} % at {n} thread{'s' * (n > 1)}")
    return f"The control, one engine opened twice, differs from itself by {' and '.join(said)}." if said else ""


def _density(results: Results, figures: Path) -> str:
    title = "Time against firing rate"
    report = only(results, "density")
    if report is None:
        return missing(title, "python bench/density.py")
    rows = report["rows"]
    names = list(dict.fromkeys(row["name"] for row in rows))
    targets = list(dict.fromkeys(row["target_rate"] for row in rows))
    by = {(row["name"], row["target_rate"]): row for row in rows}
    head = ["firing rate (pooled density)", *names, *[f"{n} / event fp32" for n in ("SpikingJelly",) if n in names]]
    body = []
    for target in targets:
        here = [by.get((name, target)) for name in names]
        one = next(row for row in here if row)
        cells = [
            f"{100 * one['rate']:.1f} % ({100 * one['pooled']:.1f} %)",
            *[ms(r["p50_ms"]) if r else "" for r in here],
        ]
        if "SpikingJelly" in names:
            cells.append(times(by["SpikingJelly", target]["p50_ms"] / by["event fp32", target]["p50_ms"]))
        body.append(cells)
    plots.density(figures / "density.svg", report)
    return "\n\n".join(
        [
            f"## {title}",
            "The Gesture network, with all its layers tuned to one firing rate, for several rates; p50 of a step in ms, "
            f"{rows[0]['threads']} thread. In brackets: the share of spikes after 2x2 max-pooling, which the next "
            "convolution reads.",
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
            "A step in activity, after 80 silent steps (membranes decay), and without an event since reset; p50 in ms, "
            f"{report['rows'][0]['threads']} thread. The Gesture network has the shifts of its batch normalisations set to zero "
            f"here, so that it falls silent without input: mean firing rates {rates} %.",
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
        f"{name}: {by[name, 2, 16]['steps_per_s'] / by[name, 1, 16]['steps_per_s']:.2f} times"
        for name in dict.fromkeys(name for name, _ in kinds)
        if (name, 1, 16) in by and (name, 2, 16) in by
    ]
    differ = sum(row["spike_mismatches"] or 0 for row in rows)
    plots.streams(figures / "streams.svg", report)
    return "\n\n".join(
        [
            f"## {title}",
            "One session with several streams; steps per second of all streams together (from the p50).",
            table(["streams", *[f"{name}, {n} thread{'s' * (n > 1)}" for name, n in kinds]], body),
            "![throughput against streams](performance/streams.svg)",
            (f"Two threads against one at 16 streams: {', '.join(said)}. " if said else "")
            + "Numbers of the event engine that differ from the same stream alone (answers and membranes): "
            + f"{differ}.",
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
            "Fresh processes, p50 in ms, from their start to their end; the first answer is one step of the Gesture network. "
            "`import runtime` loads nothing; NumPy comes with the first name that needs it.",
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
        "Whole data sets, from recordings on disk to predictions: reading, framing, steps, and the start of worker processes. "
        "`plif eval` chooses batch, workers and threads itself; the loops of PyTorch and SpikingJelly read with NumPy and run in "
        "their quickest form on both cores. The quickest loop is one of PyTorch's or SpikingJelly's own operations; the one with "
        "the kernels that plif trains with is shown beside them. The Gesture network's weights are random, and its votes can be "
        "exactly equal: there two programs whose sums round differently may answer differently.",
    ]
    for report in reports:
        body = [
            [row["name"], row["batch"], row["workers"], row["threads"], f"{row['samples_per_s']:.3g}",
             times(row["times_quickest_loop"]), f"{100 * row['accuracy']:.2f} %", row["answers_changed"]]
            for row in sorted(report["rows"], key=lambda row: -row["samples_per_s"])
        ]  # fmt: skip
        what = {"digits": "The shipped digits network", "gesture": "The paper's Gesture network, random weights"}
        parts.append(f"{what[report['network']]}, {report['samples']:,} simulated recordings:")
        head = [
            "",
            "batch",
            "workers",
            "threads",
            "samples/s",
            "x the quickest loop",
            "accuracy",
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
        [row["preset"], row["batch"], row["precision"], report["threads"], f"{row['spikes']:.1%}",
         *[f"{row['median_s'][s]:.3f}" if s in row["median_s"] else "" for s in sides], times(row["faster"]),
         times(row["of_floor"]) if "of_floor" in row else ""]
        for row, report in rows
    ]  # fmt: skip
    return "\n\n".join(
        [
            f"## {title}",
            "Seconds of one training step (median): forward, backward, Adam, reset; `plif` and SpikingJelly with statistics "
            "of batch normalisation over T x N, `plif per-step` with the authors'; `floor` is dense convolutions and products "
            "alone; `spikes` is the share of the inputs of plif's later convolutions that are not zero: networks at their start, "
            "where some fire far more often than when they are trained, and with a threshold that makes them fire less.",
            table(
                [
                    "network",
                    "batch",
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
