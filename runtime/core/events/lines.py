"""The types of the lines that `plif stream --json` prints; docs/schemas/stream.json is generated from them."""

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


class FollowedView(TypedDict):
    """The view that follows a small figure, in a step of a stream with follow=on.

    window  left, top, width and height of it, as shares of the whole picture
    counts  whether its votes count: not while the figure is large, or none was found
    row     whose votes for the answer are more: 0 of the whole picture, 1 of the view
    y       [2][classes], the outputs of both rows in this step; where the view counts, the rule adds up the votes of
            the greater, class by class
    """

    window: list[float]
    counts: bool
    row: int
    y: list[list[float]]


class DecisionLine(_Decision, total=False):
    """The JSON line of `plif stream` about one step and its decision (runtime/core/stream/decide.py).

    source  the stream's name, if there are several
    why     "idle" or "not sure", where label is null
    view    with follow=on
    """

    source: str
    why: str
    view: FollowedView


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
    """The event counts, times and notes of one stream, or of all streams of a run.

    events_in      all events that arrived: used, filtered, late, invalid and dropped together
    events_not_shown   filtered events at pixels that the framing does not show
    label          of the last step; null for several sources
    lag_ms         delay behind the feed
    sensor         [width, height];  sensor_from its origin: source, recording, asked, model or guess
    fit            comparison of its events with the network's training data (runtime/core/events/fit.py)
    frames_merged, frames_dropped   by an overload;  waiting_most: the most frames in the queue
    returns        how often a live source came back
    datagrams      of a UDP source, by outcome
    sources        the summary of each source by name, if there are several
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
    """The last JSON line of `plif stream`: the summary of the run."""

    summary: StreamSummary
