"""Streaming: events -> frames -> one step of the network -> a decision, as the events arrive.

    for decision in model.stream("recording.raw"):
        print(decision.t_us, decision.label, decision.score)

The network keeps its state from step to step. With `decide="sum"` and `reset="recording"` this is what evaluation does, on
the same frames, so both give the same spikes and the same answer.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from runtime.decide import ResetPolicy, make_rule
from runtime.errors import PlifError
from runtime.events import Frame, Framing, SourceFramer, open_source
from runtime.latency import Latencies
from runtime.observe import Controls, Observer, Observers

if TYPE_CHECKING:
    from runtime.session import Model

LIVE_FRAMING = "events:n=5000,max=20ms"


@dataclass(frozen=True)
class Decision:
    """What the network says after one step.

    t_us        end of the frame, in the time of the recording
    step        number of the step, from 0
    label       the class, or None when there is no evidence yet
    index       its number, or None
    score       the winner's spikes since the reset, as a share of all that could have been (voters x steps)
    votes       spikes of each class since the reset (sums of y where the network does not vote)
    latency_ms  from the complete frame to this decision
    source      the name of its source
    """

    t_us: int
    step: int
    label: str | None
    index: int | None
    score: float
    votes: list[float]
    latency_ms: float
    source: str = ""

    def to_dict(self) -> dict[str, Any]:
        return {
            "t_us": self.t_us,
            "step": self.step,
            "label": self.label,
            "index": self.index,
            "score": round(self.score, 6),
            "votes": self.votes,
            "latency_ms": round(self.latency_ms, 4),
        }


def stream(
    model: Model,
    source: str,
    *,
    framing: str | None = None,
    decide: str = "sum",
    reset: str = "recording",
    speed: str = "max",
    sensor: tuple[int, int] | None = None,
    observers: Sequence[Observer] = (),
) -> Stream:
    """A Stream of decisions about one source; iterate it once.

    framing  how events become frames; the card's when None
    decide   sum, leak[:500ms] or kofn[:3/5]
    reset    never, recording, every:T or silence:MS
    speed    max, or real: paced by the events' own time
    sensor   (width, height) for sources that do not say
    observers  who hears of packets, frames, decisions and the summary (runtime.observe)
    """
    return Stream(model, source, framing, decide, reset, speed, sensor, observers)


class Stream:
    """Iterates over Decisions; `summary()` has the account of all events at any time."""

    def __init__(
        self,
        model: Model,
        source: str,
        framing: str | None,
        decide: str,
        reset: str,
        speed: str,
        sensor: tuple[int, int] | None,
        observers: Sequence[Observer] = (),
    ) -> None:
        if model.unrolled:
            raise PlifError(
                f"{model.path}: is unrolled over T={model.T} and cannot stream; use the step form: plif export --form step"
            )
        if model.static:
            raise PlifError(f"{model.path}: its input is a still image, not events; evaluate it instead: plif eval")
        if speed not in ("real", "max"):
            raise PlifError(f"--speed {speed}: expected real or max")
        self.options = {"framing": framing, "decide": decide, "reset": reset, "speed": speed, "sensor": sensor}
        self.model = model
        self.rule = make_rule(decide, len(model.classes))
        self.policy = ResetPolicy.parse(reset)
        self.source = open_source(source, sensor=sensor)
        text = framing or model.card["framing"] or LIVE_FRAMING
        self.framing = Framing.parse(text)
        if self.source.live and self.framing.kind == "count":
            raise PlifError(
                f"{source}: framing '{text}' divides a whole recording and cannot serve a live source; "
                f"use --framing {LIVE_FRAMING} or --framing duration:20ms"
            )
        if self.policy.kind == "silence" and self.framing.kind == "count":
            raise PlifError(
                f"--reset {reset}: framing '{text}' has no silence, its frames hold equal counts; use duration or events"
            )
        self.frames = SourceFramer(self.source, self.framing, model.input_shape)
        self.session = model.session(streams=1)
        self.paced = speed == "real"
        self.latency, self.lag = Latencies(), Latencies()
        self.decisions = 0
        self.last: Decision | None = None
        self.last_frame: Frame | None = None
        self._iterated = False
        self._closed = False
        self._votes = np.zeros(len(model.classes))
        self._steps = 0  # since the last reset
        self.controls = Controls()
        self._tell = Observers(observers)
        if self._tell.packet:
            self.frames.on_packet = lambda packet: self._tell.packet(self.source.name, packet, time.perf_counter())

    @property
    def names(self) -> list[str]:
        """The sources, as observers and decisions call them."""
        return [self.source.name]

    def close(self) -> None:
        """The end, at the latest: nothing more is read, and observers get the summary. Iterating to the end does it too."""
        if not self._closed:
            self._closed = True
            self._tell.summary(self.summary())

    def __iter__(self) -> Iterator[Decision]:
        if self._iterated:
            raise PlifError(f"{self.source.name}: a stream runs once; make another one with model.stream")
        self._iterated = True
        self._tell.start(self)
        try:
            yield from self._decisions()
        finally:
            self.close()

    def _decisions(self) -> Iterator[Decision]:
        began_s, first_us, previous_us = time.perf_counter(), None, None
        for frame in self.frames:
            if first_us is None:
                first_us = previous_us = frame.t_start_us
            elif frame.discontinuity:  # a gap is not waited for: the clock starts again with the frame after it
                began_s, first_us = time.perf_counter(), frame.t_start_us
            due_s = began_s + (frame.t_end_us - first_us) / 1e6
            if self.paced:
                time.sleep(max(0.0, due_s - time.perf_counter()))
            if not self.controls.running:
                paused_s = time.perf_counter()
                self.controls.wait()
                began_s += time.perf_counter() - paused_s
            if self.controls.ended:
                return
            arrived_s = time.perf_counter()
            decision = self._step(frame, frame.t_end_us - (previous_us or 0), arrived_s)
            previous_us = frame.t_end_us
            if self.paced:
                self.lag.add(1e3 * (time.perf_counter() - due_s))
            yield decision

    def _step(self, frame: Frame, dt_us: int, arrived_s: float) -> Decision:
        due, asked = self.policy.due(frame.events, dt_us, frame.discontinuity), self.controls.take_resets()
        if due or asked:
            self._tell.reset(self.source.name, self.decisions, "policy" if due else "control")
            self.session.reset()
            self.rule.reset()
            self._votes[:] = 0
            self._steps = 0
        y = self.session.step(frame.x[None])[0].astype(np.float64)
        voters = self.model.voters
        c = np.rint(y * voters) if voters > 1 else y
        winner = self.rule.add(c, dt_us)
        self._votes += c
        self._steps += 1
        latency_ms = 1e3 * (time.perf_counter() - arrived_s)
        self.latency.add(latency_ms)
        decision = Decision(
            t_us=frame.t_end_us,
            step=self.decisions,
            label=None if winner is None else self.model.classes[winner],
            index=winner,
            score=0.0 if winner is None else float(self._votes[winner]) / (voters * self._steps),
            votes=[int(n) if voters > 1 else float(n) for n in self._votes],
            latency_ms=latency_ms,
            source=self.source.name,
        )
        self.decisions += 1
        self.last, self.last_frame = decision, frame
        if self._tell.frame:
            rates = self.session.rates if self.model.counts_rates else {}
            self._tell.frame(self.source.name, frame, y, rates, latency_ms)
        self._tell.decision(decision)
        return decision

    def summary(self) -> dict[str, Any]:
        """The last line of `plif stream --json`: the account of every event, and the times."""
        account = self.frames.account
        return {
            "events_in": account.events_in,
            "events_used": account.used,
            "events_filtered": account.filtered,
            "events_late": account.late,
            "events_invalid": account.invalid,
            "events_dropped": account.dropped,
            "frames": self.decisions,
            "decisions": self.decisions,
            "label": self.last.label if self.last else None,
            "framing": str(self.framing),
            "latency_ms": self.latency.to_dict(),
            "lag_ms": self.lag.to_dict(),
            "notes": list(self.source.notes),
        }
