"""What `plif stream --json` prints, line by line; docs/schemas/stream.json is made of it."""

from __future__ import annotations

from typing import TypedDict

from runtime.core.base.latency import Percentiles


class _Decision(TypedDict):
    t_us: int
    step: int
    label: str | None
    soft: str | None
    index: int | None
    score: float
    votes: list[float]
    latency_ms: float


class DecisionLine(_Decision, total=False):
    """A step (runtime/core/stream/decide.py).

    source  where there are several
    why     "idle" or "not sure", where label is null
    """

    source: str
    why: str


class _Summary(TypedDict):
    events_in: int
    events_used: int
    events_filtered: int
    events_not_shown: int
    events_late: int
    events_invalid: int
    events_dropped: int
    frames: int
    decisions: int
    label: str | None
    framing: str
    latency_ms: Percentiles
    lag_ms: Percentiles
    notes: list[str]


class StreamSummary(_Summary, total=False):
    """The account of every event, and the times: of a source, or of all.

    events_in      all that came: used, filtered, late, invalid and dropped together
    events_not_shown   of the filtered, those whose pixel the framing does not show
    label          of the last step; null for several sources
    lag_ms         behind the feed
    sensor         [width, height], and sensor_from who says so: source, recording, asked, model or guess
    fit            whether its events are as those of the network's training (runtime/core/events/fit.py)
    frames_merged, frames_dropped   by an overload;  waiting_most: frames in the queue, at most
    returns        how often a live source came back
    datagrams      of a UDP source, by fate
    sources        each of several, by name
    """

    sensor: list[int]
    sensor_from: str
    fit: dict[str, object]
    frames_merged: int
    frames_dropped: int
    waiting_most: int
    returns: int
    datagrams: dict[str, int]
    sources: dict[str, StreamSummary]


class SummaryLine(TypedDict):
    """The last line."""

    summary: StreamSummary
