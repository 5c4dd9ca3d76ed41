"""The numbers of a running stream as Prometheus reads them (text format 0.0.4): GET /metrics with the token as Bearer.

plif_info{version, model, engine} 1              plif_running                     1: steps are made; 0: stopped or ended
plif_source_state{source, state} 0|1             plif_last_event_age_seconds{source}
plif_events_in_total{source}                     plif_events_total{source, fate}
plif_datagrams_total{source, fate}               of UDP: received, malformed, foreign, takeovers, dropped_by_kernel, missing
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
    """info: labels of plif_info; boards by the name of their source."""
    lines: list[str] = []

    def family(name: str, kind: str, what: str, samples: Iterable[tuple[str, float]]) -> None:
        lines.extend((f"# HELP {name} {what}", f"# TYPE {name} {kind}"))
        lines.extend(f"{sample} {value!r}" for sample, value in samples)

    def each(name: str, label: str, values: Mapping[str, Mapping[str, float]]) -> list[tuple[str, float]]:
        return [
            (sample(name, source=source, **{label: key}), value)
            for source, own in values.items()
            for key, value in own.items()
        ]

    def one_each(name: str, kind: str, what: str, key: str) -> None:
        found = [(sample(name, source=n), s[key]) for n, s in statuses.items() if s[key] is not None]
        family(name, kind, what, found)

    statuses = {name: board.status() for name, board in boards.items()}
    family("plif_info", "gauge", "What runs.", [(sample("plif_info", **info), 1)])
    family("plif_running", "gauge", "1 while steps are made.", [("plif_running", int(running))])
    states = {n: {state: int(s["source_state"] == state) for state in STATES} for n, s in statuses.items()}
    family("plif_source_state", "gauge", "The state of the source.", each("plif_source_state", "state", states))
    one_each("plif_last_event_age_seconds", "gauge", "Since the last event came.", "last_event_age_s")
    one_each("plif_events_in_total", "counter", "Events that came.", "events_in")
    fates = {n: {fate: s[f"events_{fate}"] for fate in FATES} for n, s in statuses.items()}
    family("plif_events_total", "counter", "Events by their fate.", each("plif_events_total", "fate", fates))
    what = "Of the filtered, whose pixel the framing does not show."
    one_each("plif_events_not_shown_total", "counter", what, "events_not_shown")
    datagrams = {n: board.datagrams for n, board in boards.items()}
    family(
        "plif_datagrams_total", "counter", "Datagrams by their fate.", each("plif_datagrams_total", "fate", datagrams)
    )
    one_each("plif_steps_total", "counter", "Steps of the network.", "steps")
    labels = {n: {label or "": count for label, count in b.answers.by_label().items()} for n, b in boards.items()}
    what = "Decisions by label; an empty label is no answer."
    family("plif_decisions_total", "counter", what, each("plif_decisions_total", "label", labels))
    resets = {n: dict(board.resets) for n, board in boards.items()}
    family(
        "plif_resets_total", "counter", "Resets of membranes and evidence.", each("plif_resets_total", "why", resets)
    )
    for kind in ("latency", "lag"):
        name = f"plif_{kind}_seconds"
        what = "Complete frame to decision." if kind == "latency" else "How far a decision is behind its last event."
        found = [line for n, board in boards.items() for line in histogram(name, n, getattr(board, kind))]
        family(name, "histogram", what, found)
    return "\n".join(lines) + "\n"


def histogram(name: str, source: str, times: Latencies) -> list[tuple[str, float]]:
    """The samples of one histogram: how many durations lie below each bound, their number and their sum."""
    below = times.below(BOUNDS_MS)
    samples: list[tuple[str, float]] = [
        (sample(f"{name}_bucket", source=source, le=repr(bound / 1000)), count)
        for bound, count in zip(BOUNDS_MS, below, strict=True)
    ]
    samples.append((sample(f"{name}_bucket", source=source, le="+Inf"), times.count))
    samples.append((sample(f"{name}_sum", source=source), times.total_ms / 1000))
    samples.append((sample(f"{name}_count", source=source), times.count))
    return samples


def sample(name: str, **labels: str) -> str:
    """name{label="value",...}; what the format would misread in a value is escaped."""
    escaped = (
        (key, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for key, value in labels.items()
    )
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in escaped) + "}"
