"""Who watches a stream: the dashboard, the recorder, the terminal, anything else. The loop knows none of them.

    class Printer(Observer):
        def on_decision(self, decision):
            print(decision.label)

    model.stream(source, observers=[Printer()])

An observer overrides the calls that it needs; a call that no observer overrides is not made and costs nothing. Calls come in the
thread that does the work (`on_packet`, `on_return` and `on_tick` in the reader's, where there is one), so they must be short. An
observer must not change the arrays that it gets, and must copy those that it keeps. An exception in an observer ends the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from runtime.core.events.frame import Frame
from runtime.core.events.lines import StreamSummary
from runtime.core.stream.decide import Decision

BEAT_S = 0.5


class Observer:
    """Base class: each method does nothing; override those that you need. `source` is a name in `run.names`."""

    rates = False  # whether on_frame needs firing rates: `plif stream` then counts spikes

    def on_open(self, run: Any) -> None:
        """The run is made, and nothing was read; what is wrong with it is refused here. run: as in on_start."""

    def on_start(self, run: Any) -> None:
        """Before the first event is read. run: the runtime.core.stream.run.Run; `run.controls` steers it."""

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        """Events [N] as the source gave them, before any filter, in order; time.perf_counter() when they came."""

    def on_return(self, source: str) -> None:
        """A source that was lost is back; the next on_packet is the first of the new time."""

    def on_tick(self, source: str, t_us: int) -> None:
        """A live source is silent, and its time went on to t_us: frames that ended by then have no more events."""

    def on_step(self, took_ms: float) -> None:
        """The network made a step, of all streams that had a frame; on_frame follows for each of them."""

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """One step was made: its frame, y float32 [classes], and firing rates by layer (empty without load(rates=True)).

        `frame.merged` and `frame.skipped` say what an overload did: how many frames of the grid are in this one, and how
        many before it were dropped. With these, events and resets, a recording can be replayed exactly.
        """

    def on_reset(self, source: str, step: int, why: str) -> None:
        """Membranes and evidence start afresh before this step. why: policy, control or return.

        why is "copy" where only one row of `--reset every:T/K` starts afresh; the other rows, and the answer, go on.
        """

    def on_wait(self) -> None:
        """The loop waits for the next frame of a live or paced source: about once in BEAT_S, in the loop's thread."""

    def on_decision(self, decision: Decision) -> None:
        """After on_frame, for the same step."""

    def on_note(self, source: str, text: str) -> None:
        """One line that a person should read: lost, back, overloaded."""

    def on_end(self, run: Any) -> None:
        """All was read that is there, or a live source was told to end; the accounts are still open."""

    def on_summary(self, summary: StreamSummary) -> None:
        """Once, at the end, also after an interrupt."""

    def close(self) -> None:
        """Of an observer of `plif stream`, when all was printed, whatever ended it."""


class Observers:
    """Several observers as one: each attribute calls those who override it, in order, and is None where no observer does."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.on_open = _each("on_open", observers)
        self.on_start = _each("on_start", observers)
        self.on_packet = _each("on_packet", observers)
        self.on_return = _each("on_return", observers)
        self.on_tick = _each("on_tick", observers)
        self.on_step = _each("on_step", observers)
        self.on_frame = _each("on_frame", observers)
        self.on_reset = _each("on_reset", observers)
        self.on_decision = _each("on_decision", observers)
        self.on_wait = _each("on_wait", observers)
        self.on_end = _each("on_end", observers)
        self.on_summary = _each("on_summary", observers)
        self._notes = _each("on_note", observers)

    def on_note(self, source: str, text: str) -> None:
        if self._notes:
            self._notes(source, text)


def _each(name: str, observers: Sequence[Observer]) -> Callable[..., None] | None:
    nothing = vars(Observer)[name]
    methods = [getattr(observer, name) for observer in observers]
    calls = [method for method in methods if getattr(method, "__func__", method) is not nothing]
    if len(calls) < 2:
        return calls[0] if calls else None

    def call(*arguments: object) -> None:
        for one in calls:
            one(*arguments)

    return call
