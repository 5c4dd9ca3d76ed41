"""One input and its decisions: its frames, its rows of the batch, its evidence, its account.

Streams know nothing of each other.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from runtime.base.latency import Latencies
from runtime.engines.model import OpenModel
from runtime.engines.session import Session, whole_votes
from runtime.events.frame import Frame
from runtime.events.framer import GAP_US
from runtime.stream.decide import NOT_SURE, Decision, DecisionRule, KofN, smooth_rate
from runtime.stream.floor import NoiseFloor
from runtime.stream.hold import find_other
from runtime.stream.observe import Observers
from runtime.stream.queue import FrameQueue
from runtime.stream.reset import AFRESH, KEEP, ResetPolicy
from runtime.stream.source_framer import SourceFramer

LEAST_SHARE = 0.05  # of a class's possible spikes: with less there is no evidence for it


class Row:
    """One row of the batch, with evidence and a reset policy of its own: a stream has K rows with `--reset every:T/K`."""

    KEEPS = ("votes", "steps", "answer")

    def __init__(self, row: int, rule: DecisionRule, policy: ResetPolicy, model: OpenModel) -> None:
        self.row, self.policy = row, policy
        self.evidence = rule.evidence(len(model.classes), model.voters, find_other(model.classes), model.T)
        self.votes = np.zeros(len(model.classes))  # float64 [classes], since the last reset
        self.steps = 0  # since the last reset
        self.answer: int | None = None

    def reset(self) -> None:
        self.evidence.reset()
        self.votes[:] = 0
        self.steps = 0
        self.answer = None


class Stream:
    """One stream of a run. The run calls `before`, steps the network for all its streams, and calls `after` with this one's y.

    name       of its source, as observers and decisions say it
    frames     its source, framed; frames.account has every event
    numbers    the rows of the batch that are its own
    queue      where frames wait, of a source that is read by a thread
    pending    the frame that is to be stepped next
    steps      decisions so far, and of the run that it goes on from; last and last_frame are the latest
    """

    KEEPS = ("steps", "_rate", "_idle", "_previous_us")

    def __init__(
        self,
        name: str,
        frames: SourceFramer,
        numbers: range,
        rule: DecisionRule,
        policy: ResetPolicy,
        model: OpenModel,
        observers: Observers,
    ) -> None:
        self.name, self.frames, self.source = name, frames, frames.source
        self.account = frames.account
        self.rule, self.policy = rule, policy
        self.numbers = list(numbers)
        self.rows = [Row(number, rule, policy.of_row(i), model) for i, number in enumerate(numbers)]
        self.queue: FrameQueue | None = None
        self.pending: Frame | None = None
        self.latency, self.lag = Latencies(), Latencies()
        self.steps = self._steps_before = 0
        self.notes: list[str] = []  # of the run about this stream; the source has notes of its own
        self.last: Decision | None = None
        self.last_frame: Frame | None = None
        self._classes, self._voters, self._other = model.classes, model.voters, find_other(model.classes)
        self._observers = observers
        self._resets_itself = policy.kind not in ("never", "recording")
        self._rate = 0.0, 0.0
        self.floor = NoiseFloor() if rule.idle_auto else None
        self._quiet = self._idle = False
        self._dt_us = 0
        self._previous_us: int | None = None

    def go_on(self) -> None:
        """Told when this stream has got the state of an earlier run."""
        self._steps_before = self.steps
        self.frames.go_on()

    @property
    def is_final(self) -> bool:
        """Whether its answer cannot change any more: an early exit, in a recording that is reset at its beginning only."""
        return self.policy.kind == "recording" and all(row.evidence.final for row in self.rows)

    def before(self, frame: Frame, session: Session, asked: bool) -> None:
        """Resets and fades this stream as its policy says, before the frame is stepped. asked: the user asked for a reset."""
        since_us = frame.t_start_us if self._previous_us is None else self._previous_us
        self._dt_us, gap_us = frame.t_end_us - since_us, frame.t_start_us - since_us
        self._previous_us = frame.t_end_us
        if gap_us > GAP_US:  # a gap is also where a stop or an overload left frames out
            frame.discontinuity = True
        was_idle = self._idle
        self._idle = frame.lost  # nothing is known of the scene, so there is no answer
        if self.rule.idle_per_s is not None:
            events, us = self._rate = smooth_rate(self._rate, frame.events, frame.t_end_us - frame.t_start_us)
            self._idle = self._idle or 1e6 * events / us < self.rule.idle_per_s
        if self.floor is not None:
            lasts_us = frame.t_end_us - frame.t_start_us
            events, us = self._rate = smooth_rate(self._rate, frame.events, lasts_us)
            self._quiet = self.floor.is_quiet(1e6 * events / us, frame.events, lasts_us)
        if self._resets_itself or asked or frame.restart:
            self._reset(frame, session, gap_us, asked)
        if self._idle and not was_idle:
            for row in self.rows:
                row.evidence.reset()  # evidence from before a pause says nothing about what comes after it

    def _reset(self, frame: Frame, session: Session, gap_us: int, asked: bool) -> None:
        events = 0 if self._idle else frame.events
        afresh = 0
        for i, row in enumerate(self.rows):
            factor = row.policy.before(events, self._dt_us, frame.discontinuity, gap_us)
            if asked or frame.restart:
                factor = AFRESH
                row.policy = self.policy.of_row(i)  # its counting starts again, with this frame
                row.policy.before(events, 0, False, 0)
            if factor == AFRESH:
                afresh += 1
                session.reset([row.row])
                row.reset()
            elif factor != KEEP:
                session.fade(factor, [row.row])
                row.evidence.fade(factor)
        if afresh and self._observers.on_reset:
            why = "policy" if afresh == len(self.rows) else "copy"
            self._observers.on_reset(self.name, self.steps, "control" if asked else "return" if frame.restart else why)

    def after(self, frame: Frame, y: np.ndarray, rates: dict[str, float]) -> Decision:
        """y float32 [rows of this stream, classes], what the network gave for this frame."""
        self.account.add(used=frame.events)
        oldest = self.rows[0]
        for row, c in zip(self.rows, whole_votes(y, self._voters), strict=True):
            row.votes += c
            row.steps += 1
            row.answer = None if self._idle else row.evidence.add(c, self._dt_us)
            if row.steps > oldest.steps:  # the first of equals
                oldest = row
        winner, idle = oldest.answer, self._idle
        if self._quiet and not idle and not self._has_evidence(oldest):
            winner, idle = None, True
        now_s = time.perf_counter()
        latency_ms = 1e3 * (now_s - frame.complete_s)
        self.latency.add(latency_ms)
        if self.queue is not None:
            self.lag.add(1e3 * (now_s - frame.due_s))
        decision = Decision(
            t_us=frame.t_end_us,
            step=self.steps,
            label=None if winner is None else self._classes[winner],
            index=winner,
            score=0.0 if winner is None else oldest.evidence.share,
            votes=(oldest.votes.astype(np.int64) if self._voters > 1 else oldest.votes).tolist(),
            latency_ms=latency_ms,
            source=self.name,
            why=None if winner is not None else "idle" if idle else NOT_SURE,
        )
        self.steps += 1
        self.last, self.last_frame = decision, frame
        if self._observers.on_frame:
            self._observers.on_frame(self.name, frame, y[self.rows.index(oldest)], rates, latency_ms)
        if self._observers.on_decision:
            self._observers.on_decision(decision)
        return decision

    def _has_evidence(self, row: Row) -> bool:
        """Whether a class that is not "other" has a twentieth of its possible spikes."""
        evidence = row.evidence
        if isinstance(evidence, KofN):
            return row.answer is not None and row.answer != self._other
        share = evidence.evidence / max(self._voters * evidence.weight, 1e-9)
        return bool((np.delete(share, self._other) if self._other is not None else share).max(initial=0) >= LEAST_SHARE)

    def summary(self) -> dict[str, Any]:
        """The account of every event of this source, and its times."""
        account = self.account
        found: dict[str, Any] = {
            "events_in": account.events_in,
            "events_used": account.used,
            "events_filtered": account.filtered,
            "events_late": account.late,
            "events_invalid": account.invalid,
            "events_dropped": account.dropped,
            "frames": self.steps - self._steps_before,
            "decisions": self.steps - self._steps_before,
            "label": self.last.label if self.last else None,
            "framing": str(self.frames.framer.framing),
            "sensor": list(self.source.sensor),
            "sensor_from": self.source.sensor_from,
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


def add_up(summaries: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The summaries of streams side by side, by their names, as one; that of a single one as it is."""
    each = list(summaries.values())
    if len(each) == 1:
        return each[0]
    counts = dict.fromkeys(key for one in each for key in one if isinstance(one[key], int) and key != "waiting_most")
    total: dict[str, Any] = {key: sum(one.get(key, 0) for one in each) for key in counts}
    total["label"], total["framing"] = None, each[0]["framing"]
    for key in ("latency_ms", "lag_ms"):
        percentiles = [one[key] for one in each]
        total[key] = {
            p: max((one[p] for one in percentiles if one[p] is not None), default=None) for p in percentiles[0]
        }
    total["notes"] = [note for one in each for note in one["notes"]]
    return {**total, "sources": summaries}
