"""One input and its decisions: its frames, its rows of the batch, its rules, its account.

Streams know nothing of each other.

Which models stream, and what a source is.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.latency import Latencies, Percentiles
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import Session
from runtime.core.events.fit import Fate, Likeness
from runtime.core.events.frame import Frame
from runtime.core.events.lines import StreamSummary
from runtime.core.events.sources.base import Source
from runtime.core.stream.decide import NOT_SURE, Decision, Rules
from runtime.core.stream.observe import Observers
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.interface import AFRESH, GAP, IDLE, LOST

ENTERED = 1024  # latencies are entered so many at a time


class Waiting(Protocol):
    """Frames of a source that a thread reads ahead: how many were merged into others, dropped, and waited at once."""

    merged: int
    dropped: int
    longest: int


class Stream:
    """One stream of a run. The run calls `before`, steps the network for all its streams, and calls `after` with this one's y.

    name       of its source, as observers and decisions say it
    frames     its source, framed; frames.account has every event
    rules      when its state begins anew, and what it decides
    numbers    the rows of the batch that are its own
    queue      where frames wait, of a source that is read by a thread
    pending    the frame that is to be stepped next
    fit        whether its events are as those of the network's training: looked at when as many steps were made as a sample of
               training has, and at the end
    steps      decisions so far, and of the run that it goes on from; last and last_frame are the latest
    """

    def __init__(
        self,
        name: str,
        frames: SourceFramer,
        first_row: int,
        rules: Rules,
        observers: Observers,
        fit: Likeness | None,
        ends_early: bool = False,
    ) -> None:
        self.fit, self._unseen = (
            fit,
            fit.steps if fit is not None else 0,
        )  # and how many of the first steps are still to come
        self._seen = np.zeros(frames.framer.shape[0])  # of these: counts of each channel
        self._frames, self._first_us = 0, 0  # frames of the grid, and when the first began
        self.name, self.frames, self.source = name, frames, frames.source
        self.account = frames.account
        self.rules = rules
        self.numbers = list(range(first_row, first_row + rules.rows))
        self.queue: Waiting | None = None
        self.pending: Frame | None = None
        self.latency, self.lag = Latencies(), Latencies()
        self.steps = self._steps_before = 0
        self.notes: list[str] = []  # of the run about this stream; the source has notes of its own
        self.last: Decision | None = None
        self.last_frame: Frame | None = None
        self.reset_asked = False  # by the user, before its next frame
        self.is_final = False  # its answer cannot change any more: an early exit, where nothing begins anew
        self._ends_early = ends_early
        self._observers = observers

    def kept(self) -> dict[str, np.ndarray]:
        """What this stream remembers: arrays [...] of types and shapes that follow from its options."""
        return {"steps": np.array([self.steps]), "rules": self.rules.kept, **self.frames.kept()}

    def go_on(self, kept: dict[str, np.ndarray]) -> None:
        """Begins with what `kept` of an earlier run gave, arrays of the same shapes. Raises PlifError for other numbers."""
        self.rules.kept = kept["rules"]
        self.frames.go_on(kept)
        self.steps = self._steps_before = int(kept["steps"][0])

    def before(self, frame: Frame, session: Session) -> None:
        """Resets and fades this stream as its rules say, before the frame is stepped."""
        asked, self.reset_asked = self.reset_asked, False
        afresh = asked or frame.restart
        flags = frame.discontinuity * GAP | afresh * AFRESH | frame.lost * LOST
        reset = self.rules.begin(frame, flags, session, self.numbers)
        if reset and self._observers.on_reset:
            why = "policy" if reset == self.rules.rows else "copy"
            self._observers.on_reset(self.name, self.steps, "control" if asked else "return" if frame.restart else why)

    def after(self, frame: Frame, y: np.ndarray, rates: dict[str, float]) -> Decision:
        """y float32 [rows of this stream, classes], what the network gave for this frame."""
        if not self.account.closed:
            self.account.used += frame.events  # this thread alone enters what was used
        found = self.rules.after(y)
        self.is_final = self._ends_early and bool(found.is_final)
        now_s = time.perf_counter()
        latency_ms = 1e3 * (now_s - frame.complete_s)
        self.latency.add(latency_ms)
        if self.queue is not None:
            self.lag.add(1e3 * (now_s - frame.due_s))
        rules, winner = self.rules, found.index if found.index >= 0 else None
        votes = found.votes[: len(rules.classes)]
        decision = Decision(
            t_us=frame.t_end_us,
            step=self.steps,
            label=None if winner is None else rules.classes[winner],
            index=winner,
            score=found.score,
            votes=list(map(int, votes)) if rules.voters > 1 else votes,
            latency_ms=latency_ms,
            source=self.name,
            why=None if winner is not None else "idle" if found.index == IDLE else NOT_SURE,
            soft=None if found.soft < 0 else rules.classes[found.soft],
        )
        if not self._frames:
            self._first_us = frame.t_start_us
        self._frames += frame.merged
        self.steps += 1
        if self.steps % ENTERED == 0:
            self.latency.enter()
            self.lag.enter()
        self.last, self.last_frame = decision, frame
        if self._unseen:
            self._unseen -= 1
            self._seen += frame.x.sum((1, 2))
            if not self._unseen:
                self.judge()
        if self._observers.on_frame:
            self._observers.on_frame(self.name, frame, y[found.row], rates, latency_ms)
        if self._observers.on_decision:
            self._observers.on_decision(decision)
        return decision

    def judge(self, last: bool = False, goes_on: bool = True) -> None:
        """Whether what came so far, or, the `last` time, all of it, fits the network; says once where it does not. goes_on: more
        events might have come, so none are missed."""
        if self.fit is None or self.last_frame is None or self.fit.recordings:
            return
        used, counts, framer = self.account.used, self._seen, self.frames.framer
        on = counts[-1] / counts.sum() if counts.any() else None
        if on is not None and framer.framing.polarity == "swapped":
            on = 1 - on
        span_us = self.last_frame.t_end_us - self._first_us
        seen = Fate(used, used, 0, framer.source_size, self.source.sensor_from, self._frames, on, span_us)
        if last or any(self.fit.compare(seen, goes_on)):
            self.fit.add(self.name, seen, goes_on)
            if line := self.fit.line():
                self._observers.on_note(self.name, line)

    def summary(self) -> StreamSummary:
        """The account of every event of this source, and its times."""
        account = self.account
        found: StreamSummary = {
            "events_in": account.events_in,
            "events_used": account.used,
            "events_filtered": account.filtered,
            "events_not_shown": account.not_shown,
            "events_late": account.late,
            "events_invalid": account.invalid,
            "events_dropped": account.dropped,
            "frames": self.steps - self._steps_before,
            "decisions": self.steps - self._steps_before,
            "label": self.last.label if self.last else None,
            "framing": str(self.frames.framer.framing),
            "sensor": list(self.source.sensor),
            "sensor_from": self.source.sensor_from,
            "fit": self.fit.to_dict() if self.fit is not None else {},
            "latency_ms": self.latency.to_dict(),
            "lag_ms": self.lag.to_dict(),
            "notes": [*self.frames.notes, *self.notes],
        }
        if self.queue is not None:
            found["frames_merged"], found["frames_dropped"] = self.queue.merged, self.queue.dropped
            found["waiting_most"] = self.queue.longest
        if self.source.can_return:
            found["returns"] = self.source.returns
        if self.source.datagrams:
            found["datagrams"] = dict(self.source.datagrams)
        return found


def add_up(summaries: dict[str, StreamSummary]) -> StreamSummary:
    """The summaries of streams side by side, by their names, as one; that of a single one as it is."""
    each = list(summaries.values())
    if len(each) == 1:
        return each[0]
    counts: dict[str, int] = {}
    for one in each:
        for key, value in one.items():
            if isinstance(value, int) and key != "waiting_most":
                counts[key] = counts.get(key, 0) + value
    total: Mapping[str, object] = {
        **counts,
        "label": None,
        "framing": each[0]["framing"],
        "latency_ms": _worst([one["latency_ms"] for one in each]),
        "lag_ms": _worst([one["lag_ms"] for one in each]),
        "notes": [note for one in each for note in one["notes"]],
        "sources": summaries,
    }
    return cast(StreamSummary, total)


def _worst(each: Sequence[Percentiles]) -> Percentiles:
    p50s, p99s = ([value for one in each if (value := one[p]) is not None] for p in ("p50", "p99"))
    return {"p50": max(p50s, default=None), "p99": max(p99s, default=None)}


def check_streamable(model: OpenModel, sources: Sequence[str | Source], speed: str) -> None:
    """PlifError for a model that cannot stream, and for what is no source."""
    if model.unrolled:
        raise PlifError(
            f"{model.path}: is unrolled over T={model.T} and cannot stream; use the step form: plif export --form step"
        )
    if model.static:
        raise PlifError(f"{model.path}: its input is a still image, not events; evaluate it instead: plif eval")
    assert model.classes  # or it says why there are none
    if speed not in ("real", "max"):
        raise PlifError(f"--speed {speed}: expected real or max")
    if not sources:
        raise PlifError("stream: no source; expected a recording, -, udp://, tcp://, usb:// or sim:")
    for one in sources:
        if not isinstance(one, str | Source):
            raise PlifError(f"{one!r} is no source of events: derive its class from runtime.core.events.Source")
    if [one.name if isinstance(one, Source) else one for one in sources].count("-") > 1:
        raise PlifError("stream: standard input is given twice")
