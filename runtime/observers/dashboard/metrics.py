"""The metrics of a running stream for Prometheus (text format 0.0.4): GET /metrics with the token as Bearer.

plif_info{version, model, engine} 1              plif_running                     1: steps are made; 0: stopped or ended
plif_source_state{source, state} 0|1             plif_last_event_age_seconds{source}
plif_events_in_total{source}                     plif_events_total{source, fate}
plif_datagrams_total{source, fate}               of UDP: received, malformed, foreign, takeovers, dropped_by_kernel,
                                                 missing
plif_steps_total{source}                         plif_decisions_total{source, label}
plif_resets_total{source, why}                   plif_latency_seconds, plif_lag_seconds{source}: histograms
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from runtime.core.base.latency import Latencies

if TYPE_CHECKING:
    from runtime.observers.dashboard.board import Board

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS_MS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000)
STATES = ("running", "silent", "lost")
FATES = ("used", "filtered", "late", "invalid", "dropped")


def metrics_text(info: Mapping[str, str], running: bool, boards: Mapping[str, Board]) -> str:
    """Return the Prometheus metrics of a stream as text.

    info: labels of plif_info; boards: the dashboard data by source name.
    """
    lines: list[str] = []

    def write_family(name: str, kind: str, help_text: str, samples: Iterable[tuple[str, float]]) -> None:
        lines.extend((f"# HELP {name} {help_text}", f"# TYPE {name} {kind}"))
        lines.extend(f"{sample} {value!r}" for sample, value in samples)

    def label_samples(name: str, label: str, values: Mapping[str, Mapping[str, float]]) -> list[tuple[str, float]]:
        return [
            (format_sample(name, source=source, **{label: key}), value)
            for source, counts in values.items()
            for key, value in counts.items()
        ]

    def add_family(name: str, kind: str, help_text: str, key: str) -> None:
        samples_ = [(format_sample(name, source=n), s[key]) for n, s in statuses.items() if s[key] is not None]
        write_family(name, kind, help_text, samples_)

    statuses = {name: board.status() for name, board in boards.items()}
    write_family("plif_info", "gauge", "What runs.", [(format_sample("plif_info", **info), 1)])
    write_family("plif_running", "gauge", "1 while steps are made.", [("plif_running", int(running))])
    states = {n: {state: int(s["source_state"] == state) for state in STATES} for n, s in statuses.items()}
    write_family(
        "plif_source_state", "gauge", "The state of the source.", label_samples("plif_source_state", "state", states)
    )
    add_family("plif_last_event_age_seconds", "gauge", "Since the last event came.", "last_event_age_s")
    add_family("plif_events_in_total", "counter", "Events that came.", "events_in")
    fates = {n: {fate: s[f"events_{fate}"] for fate in FATES} for n, s in statuses.items()}
    write_family(
        "plif_events_total", "counter", "Events by their fate.", label_samples("plif_events_total", "fate", fates)
    )
    help_text = "Of the filtered, whose pixel the framing does not show."
    add_family("plif_events_not_shown_total", "counter", help_text, "events_not_shown")
    datagrams = {n: board.datagrams for n, board in boards.items()}
    write_family(
        "plif_datagrams_total",
        "counter",
        "Datagrams by their fate.",
        label_samples("plif_datagrams_total", "fate", datagrams),
    )
    add_family("plif_steps_total", "counter", "Steps of the network.", "steps")
    labels = {n: {label or "": count for label, count in b.answers.by_label().items()} for n, b in boards.items()}
    help_text = "Decisions by label; an empty label is no answer."
    write_family("plif_decisions_total", "counter", help_text, label_samples("plif_decisions_total", "label", labels))
    resets = {n: dict(board.resets) for n, board in boards.items()}
    write_family(
        "plif_resets_total",
        "counter",
        "Resets of membranes and evidence.",
        label_samples("plif_resets_total", "why", resets),
    )
    for kind in ("latency", "lag"):
        name = f"plif_{kind}_seconds"
        help_text = (
            "Complete frame to decision." if kind == "latency" else "How far a decision is behind its last event."
        )
        samples_ = [line for n, board in boards.items() for line in histogram_samples(name, n, getattr(board, kind))]
        write_family(name, "histogram", help_text, samples_)
    return "\n".join(lines) + "\n"


def histogram_samples(name: str, source: str, times: Latencies) -> list[tuple[str, float]]:
    """Return the Prometheus samples of one histogram of durations: cumulative counts by bound, number and sum."""
    below = times.count_below(BOUNDS_MS)
    samples: list[tuple[str, float]] = [
        (format_sample(f"{name}_bucket", source=source, le=repr(bound / 1000)), count)
        for bound, count in zip(BOUNDS_MS, below, strict=True)
    ]
    samples.append((format_sample(f"{name}_bucket", source=source, le="+Inf"), times.count))
    samples.append((format_sample(f"{name}_sum", source=source), times.total_ms / 1000))
    samples.append((format_sample(f"{name}_count", source=source), times.count))
    return samples


def format_sample(name: str, **labels: str) -> str:
    """Format one line (sample) of Prometheus metrics, name{label="value",...}, with special characters escaped."""
    escaped = (
        (key, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for key, value in labels.items()
    )
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
