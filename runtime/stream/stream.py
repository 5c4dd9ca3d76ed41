"""One source of a stream: its frames, its rows of the batch, its evidence, its account. Lanes know nothing of each other."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.base.latency import Latencies
from runtime.events import Frame, SourceFramer
from runtime.events.framer import GAP_US, Account
from runtime.stream.decide import Plan
from runtime.stream.observe import Observers
from runtime.stream.reset import AFRESH, KEEP, ResetPolicy

if TYPE_CHECKING:
    from runtime.engines.session import OpenModel, Session
    from runtime.stream.queue import Feed, Ready


@dataclass(frozen=True)
class Decision:
    """What the network says after one step.

    t_us        end of the frame, in the time of the recording
    step        number of the step, from 0
    label       the class, or None: nothing happens, or the evidence is not enough
    index       its number, or None
    score       the winner's share of the spikes that could have been, voters x steps, over the steps that the rule looks at
    votes       spikes of each class since the reset (sums of y where the network does not vote)
    latency_ms  from the complete frame to this decision
    source      the name of its source
    why         "idle" or "not sure" where label is None, else None
    """

    t_us: int
    step: int
    label: str | None
    index: int | None
    score: float
    votes: list[float]
    latency_ms: float
    source: str = ""
    why: str | None = None

    def to_dict(self, source: bool = False) -> dict[str, Any]:
        """One line of --json; `source` where there are several."""
        line = {
            "t_us": self.t_us,
            "step": self.step,
            "label": self.label,
            "index": self.index,
            "score": round(self.score, 6),
            "votes": self.votes,
            "latency_ms": round(self.latency_ms, 4),
        }
        if self.why is not None:
            line["why"] = self.why
        return {"source": self.source, **line} if source else line


class _Row:
    """One row of the batch: a copy of the network with evidence and a reset policy of its own."""

    def __init__(self, row: int, plan: Plan, policy: ResetPolicy, model: OpenModel) -> None:
        self.row, self.policy = row, policy
        self.rule = plan.make(len(model.classes), model.voters)
        self.votes = np.zeros(len(model.classes))
        self.steps = 0  # since the last reset
        self.answer: int | None = None

    def reset(self) -> None:
        self.rule.reset()
        self.votes[:] = 0
        self.steps = 0
        self.answer = None


class Lane:
    """`before` a step of all lanes, then `after` it with this lane's part of y."""

    def __init__(
        self,
        name: str,
        frames: SourceFramer,
        rows: range,
        plan: Plan,
        policy: ResetPolicy,
        model: OpenModel,
        tell: Observers,
    ) -> None:
        self.name, self.frames, self.model = name, frames, model
        self.rows = list(rows)
        self.copies = [_Row(row, plan, policy.copy(i), model) for i, row in enumerate(rows)]
        self.feed: Feed | None = None
        self.latency, self.lag = Latencies(), Latencies()
        self.decisions = 0
        self.stepped = 0  # events in the frames that the network saw
        self.notes: list[str] = []  # beside the source's own
        self.last: Decision | None = None
        self.last_frame: Frame | None = None
        self._measure_idle = plan.make_idle()
        self._idle = False
        self._dt_us = 0
        self._previous_us: int | None = None
        self._tell = tell
        self._account: Account | None = None  # the last word, once it is settled

    def before(self, frame: Frame, session: Session, asked: bool) -> None:
        """Resets and fades what the policy says before this frame is stepped. asked: a reset was asked for from outside."""
        since = frame.t_start_us if self._previous_us is None else self._previous_us
        self._dt_us, gap_us = frame.t_end_us - since, frame.t_start_us - since
        self._previous_us = frame.t_end_us
        frame.discontinuity |= gap_us > GAP_US  # frames that a stop or an overload left out are a gap as any other
        was_idle, self._idle = self._idle, False
        if self._measure_idle is not None:
            self._idle = self._measure_idle(frame.events, frame.t_end_us - frame.t_start_us)
        self._idle = self._idle or frame.lost  # what is not seen is no answer
        afresh = 0
        for copy in self.copies:
            events = 0 if self._idle else frame.events
            factor = copy.policy.before(events, self._dt_us, frame.discontinuity, gap_us)
            if asked or frame.restart:
                factor = AFRESH
                copy.policy = copy.policy.copy(self.rows.index(copy.row))
                copy.policy.before(events, 0, False, 0)
            if factor == AFRESH:
                afresh += 1
                session.reset([copy.row])
                copy.reset()
            elif factor != KEEP:
                session.fade(factor, [copy.row])
                copy.rule.fade(factor)
            if self._idle and not was_idle:
                copy.rule.reset()  # what was before the pause says nothing about what comes after it
        if afresh:
            why = "policy" if afresh == len(self.copies) else "copy"
            self._tell.reset(self.name, self.decisions, "control" if asked else "return" if frame.restart else why)

    def after(self, ready: Ready, y: np.ndarray, rates: dict[str, float]) -> Decision:
        """y float32 [rows of this lane, classes], what the network gave for them."""
        frame, voters = ready.frame, self.model.voters
        self.stepped += frame.events
        whole = y.astype(np.float64)
        c = np.rint(whole * voters) if voters > 1 else whole
        for copy, spikes in zip(self.copies, c, strict=True):
            copy.votes += spikes
            copy.steps += 1
            copy.answer = None if self._idle else copy.rule.add(spikes, self._dt_us)
        oldest = max(self.copies, key=lambda copy: copy.steps)  # the first of equals
        winner = oldest.answer
        now_s = time.perf_counter()
        latency_ms = 1e3 * (now_s - ready.complete_s)
        self.latency.add(latency_ms)
        if self.feed is not None:
            self.lag.add(1e3 * (now_s - ready.due_s))
        decision = Decision(
            t_us=frame.t_end_us,
            step=self.decisions,
            label=None if winner is None else self.model.classes[winner],
            index=winner,
            score=0.0 if winner is None else oldest.rule.share,
            votes=[int(n) if voters > 1 else float(n) for n in oldest.votes],
            latency_ms=latency_ms,
            source=self.name,
            why=None if winner is not None else "idle" if self._idle else "not sure",
        )
        self.decisions += 1
        self.last, self.last_frame = decision, frame
        if self._tell.frame:
            self._tell.frame(self.name, frame, y[self.copies.index(oldest)], rates, latency_ms)
        self._tell.decision(decision)
        return decision

    def settle(self) -> None:
        """The end: events in the open frame, and in frames that nobody stepped, were entered as used and are dropped now."""
        if self._account is None:
            account = self.frames.account
            left = account.used - self.stepped
            account.used -= left
            account.dropped += left
            self._account = replace(account)

    def summary(self) -> dict[str, Any]:
        """The account of every event of this source, and its times."""
        account = self._account or self.frames.account
        found: dict[str, Any] = {
            "events_in": account.events_in,
            "events_used": account.used,
            "events_filtered": account.filtered,
            "events_late": account.late,
            "events_invalid": account.invalid,
            "events_dropped": account.dropped,
            "frames": self.decisions,
            "decisions": self.decisions,
            "label": self.last.label if self.last else None,
            "framing": str(self.frames.framer.framing),
            "latency_ms": self.latency.to_dict(),
            "lag_ms": self.lag.to_dict(),
            "notes": [*self.frames.notes, *self.notes],
        }
        if self.feed is not None:
            found["frames_merged"], found["frames_dropped"] = self.feed.merged, self.feed.dropped
            found["waiting_most"] = self.feed.longest
        returns = getattr(self.frames.source, "returns", None)
        if returns is not None:
            found["returns"] = returns
        datagrams = getattr(self.frames.source, "datagrams", None)
        if datagrams is not None:
            found["datagrams"] = dict(datagrams)
        return found
