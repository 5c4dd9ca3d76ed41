"""Observers of a stream: the dashboard, the recorder, the terminal, any other. The loop knows none of them.

    class Printer(Observer):
        def on_decision(self, decision):
            print(decision.label)

    model.stream(source, observers=[Printer()])

An observer overrides the calls that it needs; a call that no observer overrides is not made and costs nothing. Calls
come in the thread that does the work (`on_packet`, `on_return` and `on_tick` in the reader's, where there is one), so
they must be short. An observer must not change the arrays that it gets, and must copy those that it keeps. An
exception in an observer ends the run.
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
    """An observer of a stream: each method does nothing; override those that you need.

    Base class. `source` is a name in `run.names`.
    """

    rates = False  # whether on_frame needs firing rates: `plif stream` then counts spikes

    def on_open(self, run: Any) -> None:
        """Handle the opening of a streaming run, before any input is read; refuse unsuitable options here."""

    def on_start(self, run: Any) -> None:
        """Handle the start of a streaming run, before its first event is read.

        run: the runtime.core.stream.run.Run; `run.controls` steers it.
        """

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        """Handle a packet of events [N] from a source, in order, before any filter.

        `arrived_s` is the time.perf_counter() of its arrival.
        """

    def on_return(self, source: str) -> None:
        """Handle the return of a lost event source; the next on_packet is the first one after it."""

    def on_tick(self, source: str, t_us: int) -> None:
        """Handle silence of a live source until t_us: frames that ended by then have no more events."""

    def on_step(self, took_ms: float) -> None:
        """Handle a step of the network for all streams that had a frame; on_frame follows for each of them."""

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """Handle one step of one stream: its frame, y float32 [classes], and firing rates by layer.

        `rates` is empty without load(rates=True). In an overload, `frame.merged` is the number of frames of the time
        grid in this one, and `frame.skipped` the number dropped before it. With these, events and resets, a recording
        can be replayed exactly.
        """

    def on_reset(self, source: str, step: int, why: str) -> None:
        """Handle a reset in a stream: membranes and evidence (votes) start afresh before this step.

        why: policy, control or return; "copy" where only one row of `--reset every:T/K` starts afresh: the other
        rows, and the answer, continue.
        """

    def on_wait(self) -> None:
        """Handle waiting for the next frame of a live or paced source, about once every BEAT_S seconds.

        The call comes in the loop's thread.
        """

    def on_decision(self, decision: Decision) -> None:
        """Handle the decision about a step of a stream, after on_frame for the same step."""

    def on_note(self, source: str, text: str) -> None:
        """Handle one line that the user should read, such as: source lost, source back, overloaded."""

    def on_end(self, run: Any) -> None:
        """Handle the end of a stream's input, or of a live source; the accounts of events are still open."""

    def on_summary(self, summary: StreamSummary) -> None:
        """Handle the summary of a streaming run, once, at its end, also after an interrupt."""

    def close(self) -> None:
        """Close an observer of `plif stream` once all output has been printed, whatever ended the run."""


class Observers:
    """Several observers as one: an attribute calls the observers that override it, in order, or is None."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.on_open = _combine_calls("on_open", observers)
        self.on_start = _combine_calls("on_start", observers)
        self.on_packet = _combine_calls("on_packet", observers)
        self.on_return = _combine_calls("on_return", observers)
        self.on_tick = _combine_calls("on_tick", observers)
        self.on_step = _combine_calls("on_step", observers)
        self.on_frame = _combine_calls("on_frame", observers)
        self.on_reset = _combine_calls("on_reset", observers)
        self.on_decision = _combine_calls("on_decision", observers)
        self.on_wait = _combine_calls("on_wait", observers)
        self.on_end = _combine_calls("on_end", observers)
        self.on_summary = _combine_calls("on_summary", observers)
        self._notes = _combine_calls("on_note", observers)

    def on_note(self, source: str, text: str) -> None:
        if self._notes:
            self._notes(source, text)


def _combine_calls(name: str, observers: Sequence[Observer]) -> Callable[..., None] | None:
    nothing = vars(Observer)[name]
    methods = [getattr(observer, name) for observer in observers]
    calls = [method for method in methods if getattr(method, "__func__", method) is not nothing]
    if len(calls) < 2:
        return calls[0] if calls else None

    def call(*arguments: object) -> None:
        for method in calls:
            method(*arguments)

    return call
