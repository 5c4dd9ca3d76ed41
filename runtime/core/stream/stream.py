"""One input and its decisions: its frames, its rows of the batch, its rules, its account.

Streams know nothing of each other. The module also checks models and sources before a run.
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
from runtime.core.events.fit import DomainMonitor, EventOutcome
from runtime.core.events.frame import Frame
from runtime.core.events.lines import StreamSummary
from runtime.core.events.sources.base import Source
from runtime.core.stream.decide import NOT_SURE, Decision, Rules
from runtime.core.stream.observe import Observers
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.interface import AFRESH, FOLLOWED, GAP, IDLE, LOST

LATENCY_BATCH = 1024  # so many latencies are added to the statistics at a time


class FrameQueueCounts(Protocol):
    """The counts of a queue of frames that a thread fills: merged, dropped, and most waiting frames."""

    merged: int
    dropped: int
    longest: int


class Stream:
    """One stream of a run: an event source, its frames, its rows of the network's batch and its decision rules.

    The run calls `before_step`, steps the network for all its streams, and calls `after_step` with this stream's y.

    name       of its source, for observers and decisions
    frames     the frames of its source; frames.account counts every event
    rules      the reset and decision rules
    numbers    its rows of the batch
    queue      the queue of its frames, if a thread reads the source
    pending    the frame to step next
    fit        the comparison of its events with the network's training data, checked after as many steps as a training
               sample has, and at the end
    steps      decisions so far, including those of the run that it continues; last and last_frame are the latest
    """

    def __init__(
        self,
        name: str,
        frames: SourceFramer,
        first_row: int,
        rules: Rules,
        observers: Observers,
        fit: DomainMonitor | None,
        ends_early: bool = False,
    ) -> None:
        self.fit, self._steps_to_check = (
            fit,
            fit.steps if fit is not None else 0,
        )  # and the number of steps until the first check
        self._channel_counts = np.zeros(frames.framer.shape[0])  # event counts by channel in these steps
        self._frames, self._first_us = 0, 0  # frames of the grid, and when the first began
        self.name, self.frames, self.source = name, frames, frames.source
        self.account = frames.account
        self.rules = rules
        self.numbers = list(range(first_row, first_row + rules.rows))
        self.queue: FrameQueueCounts | None = None
        self.pending: Frame | None = None
        self.latency, self.lag = Latencies(), Latencies()
        self.steps = self._steps_before = 0
        self.notes: list[str] = []  # of the run about this stream; the source has notes of its own
        self.last: Decision | None = None
        self.last_frame: Frame | None = None
        self.reset_requested = False  # by the user, before its next frame
        self.is_final = False  # its answer cannot change any more: an early exit, where nothing begins anew
        self._ends_early = ends_early
        self._observers = observers

    def save_state(self) -> dict[str, np.ndarray]:
        """Return the state of one stream of a run as arrays [...] by name.

        Types and shapes follow from its options.
        """
        return {"steps": np.array([self.steps]), "rules": self.rules.saved_state, **self.frames.save_state()}

    def restore_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `save_state` of an earlier run returned, arrays of the same shapes.

        Raise PlifError for other numbers.
        """
        self.rules.saved_state = state["rules"]
        self.frames.restore_state(state)
        self.steps = self._steps_before = int(state["steps"][0])

    def before_step(self, frame: Frame, session: Session) -> None:
        """Reset and decay the membranes (rows) of a stream as its rules say, before its frame is stepped."""
        requested, self.reset_requested = self.reset_requested, False
        afresh = requested or frame.restart
        flags = frame.discontinuity * GAP | afresh * AFRESH | frame.lost * LOST | frame.followed * FOLLOWED
        reset = self.rules.apply_resets(frame, flags, session, self.numbers)
        if reset and self._observers.on_reset:
            why = "policy" if reset == self.rules.rows else "copy"
            self._observers.on_reset(
                self.name, self.steps, "control" if requested else "return" if frame.restart else why
            )

    def after_step(self, frame: Frame, y: np.ndarray, rates: dict[str, float]) -> Decision:
        """Decide on a frame after its step, from the network's output y, float32 [rows of this stream, classes]."""
        if not self.account.closed:
            self.account.used += frame.events  # this thread alone enters what was used
        answer = self.rules.after_step(y)
        self.is_final = self._ends_early and bool(answer.is_final)
        now_s = time.perf_counter()
        latency_ms = 1e3 * (now_s - frame.complete_s)
        self.latency.add(latency_ms)
        if self.queue is not None:
            self.lag.add(1e3 * (now_s - frame.due_s))
        rules, winner = self.rules, answer.index if answer.index >= 0 else None
        votes = answer.votes[: len(rules.classes)]
        decision = Decision(
            t_us=frame.t_end_us,
            step=self.steps,
            label=None if winner is None else rules.classes[winner],
            index=winner,
            score=answer.score,
            votes=list(map(int, votes)) if rules.voters > 1 else votes,
            latency_ms=latency_ms,
            source=self.name,
            why=None if winner is not None else "idle" if answer.index == IDLE else NOT_SURE,
            soft=None if answer.soft < 0 else rules.classes[answer.soft],
            view=None if frame.window is None else frame.describe_view(y, int(answer.row)),
        )
        if not self._frames:
            self._first_us = frame.t_start_us
        self._frames += frame.merged
        self.steps += 1
        if self.steps % LATENCY_BATCH == 0:
            self.latency.flush()
            self.lag.flush()
        self.last, self.last_frame = decision, frame
        if self._steps_to_check:
            self._steps_to_check -= 1
            self._channel_counts += frame.x.sum((1, 2))
            if not self._steps_to_check:
                self.check_domain()
        if self._observers.on_frame:
            self._observers.on_frame(self.name, frame, y[answer.row], rates, latency_ms)
        if self._observers.on_decision:
            self._observers.on_decision(decision)
        return decision

    def check_domain(self, last: bool = False, unfinished: bool = True) -> None:
        """Compare a stream's events so far with the network's training data; report once where they differ.

        `last` is the final check, of all events. unfinished: more events may come, so missing events are not
        reported.
        """
        if self.fit is None or self.last_frame is None or self.fit.recordings:
            return
        used, counts, framer = self.account.used, self._channel_counts, self.frames.framer
        on = counts[-1] / counts.sum() if counts.any() else None
        if on is not None and framer.framing.polarity == "swapped":
            on = 1 - on
        span_us = self.last_frame.t_end_us - self._first_us
        outcome = EventOutcome(used, used, 0, framer.source_size, self.source.sensor_from, self._frames, on, span_us)
        if last or any(self.fit.compare(outcome, unfinished)):
            self.fit.add(self.name, outcome, unfinished)
            if line := self.fit.line():
                self._observers.on_note(self.name, line)

    def summary(self) -> StreamSummary:
        """Summarize the stream: the account of every event of this source, and its times."""
        account = self.account
        fields: StreamSummary = {
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
            fields["frames_merged"], fields["frames_dropped"] = self.queue.merged, self.queue.dropped
            fields["waiting_most"] = self.queue.longest
        if self.source.can_return:
            fields["returns"] = self.source.returns
        if self.source.datagrams:
            fields["datagrams"] = dict(self.source.datagrams)
        return fields


def merge_summaries(summaries: dict[str, StreamSummary]) -> StreamSummary:
    """Merge the summaries of streams, by name, into one; a single summary stays as it is."""
    parts = list(summaries.values())
    if len(parts) == 1:
        return parts[0]
    counts: dict[str, int] = {}
    for part in parts:
        for key, value in part.items():
            if isinstance(value, int) and key != "waiting_most":
                counts[key] = counts.get(key, 0) + value
    total: Mapping[str, object] = {
        **counts,
        "label": None,
        "framing": parts[0]["framing"],
        "latency_ms": _worst_percentiles([part["latency_ms"] for part in parts]),
        "lag_ms": _worst_percentiles([part["lag_ms"] for part in parts]),
        "notes": [note for part in parts for note in part["notes"]],
        "sources": summaries,
    }
    return cast(StreamSummary, total)


def _worst_percentiles(parts: Sequence[Percentiles]) -> Percentiles:
    p50s, p99s = ([value for part in parts if (value := part[p]) is not None] for p in ("p50", "p99"))
    return {"p50": max(p50s, default=None), "p99": max(p99s, default=None)}


def check_streamable(model: OpenModel, sources: Sequence[str | Source], speed: str) -> None:
    """Refuse a model that cannot process a stream, and an object that is no event source."""
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
    for source in sources:
        if not isinstance(source, str | Source):
            raise PlifError(f"{source!r} is no source of events: derive its class from runtime.core.events.Source")
    if [source.name if isinstance(source, Source) else source for source in sources].count("-") > 1:
        raise PlifError("stream: standard input is given twice")
