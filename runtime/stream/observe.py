"""Who watches a stream, and who steers it: the dashboard, the recorder, anything else. The loop knows none of them.

    class Printer(Observer):
        def on_decision(self, decision):
            print(decision.label)

    model.stream(source, observers=[Printer()])

An observer overrides what it wants to hear of; what nobody overrides is not called and costs nothing. Calls come in the
thread that does the work (`on_packet`, `on_return` and `on_tick` in the reader's, where there is one), so they must be short,
and what they are given is theirs to read, not to change or to keep without a copy. An exception in an observer ends the stream.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from runtime.events import Frame
    from runtime.stream.run import Decision, Stream


class Observer:
    """Does nothing; override some of it. `source` is the name of the source, as in `stream.names`."""

    def on_start(self, stream: Stream) -> None:
        """Before the first event is read; `stream.controls` steers it."""

    def on_packet(self, source: str, events: np.ndarray, arrived_s: float) -> None:
        """Events [N] as the source gave them, before any filter, in order; time.perf_counter() when they came."""

    def on_return(self, source: str) -> None:
        """A source that was lost is back; the next on_packet is the first of the new time."""

    def on_tick(self, source: str, t_us: int) -> None:
        """A live source is silent, and its time went on to t_us: frames end there without events. In the reader's thread."""

    def on_frame(self, source: str, frame: Frame, y: np.ndarray, rates: dict[str, float], latency_ms: float) -> None:
        """One step was made: its frame, y [classes], and firing rates by layer (empty without load(rates=True)).

        `frame.merged` and `frame.skipped` say what an overload did: how many frames of the grid are in this one, and how
        many before it were dropped. With these, events and resets, a recording can be replayed exactly.
        """

    def on_reset(self, source: str, step: int, why: str) -> None:
        """Membranes and evidence start afresh before this step. why: policy, control or return.

        copy: only those of one copy of `--reset every:T/K` do; the others, and the answer, go on.
        """

    def on_decision(self, decision: Decision) -> None:
        """After on_frame, for the same step."""

    def on_note(self, source: str, text: str) -> None:
        """One line that a person should read: lost, back, overloaded."""

    def on_summary(self, summary: dict[str, Any]) -> None:
        """Once, at the end, also after an interrupt."""


class Observers:
    """Several observers as one: each attribute calls those that listen, in order; empty, hence false, where nobody does."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self.start = Listeners("on_start", observers)
        self.packet = Listeners("on_packet", observers)
        self.come_back = Listeners("on_return", observers)
        self.tick = Listeners("on_tick", observers)
        self.frame = Listeners("on_frame", observers)
        self.reset = Listeners("on_reset", observers)
        self.decision = Listeners("on_decision", observers)
        self.note = Listeners("on_note", observers)
        self.summary = Listeners("on_summary", observers)


class Listeners:
    """The methods of one name that were overridden."""

    def __init__(self, name: str, observers: Sequence[Observer]) -> None:
        nothing = getattr(Observer, name)
        methods = [getattr(observer, name) for observer in observers]
        self._calls: list[Callable[..., None]] = [m for m in methods if getattr(m, "__func__", m) is not nothing]

    def __bool__(self) -> bool:
        return bool(self._calls)

    def __call__(self, *arguments: Any) -> None:
        for call in self._calls:
            call(*arguments)


class Controls:
    """Start, stop, reset and end, from any thread.

    stop    no more steps until start(). A recording waits; what a live source brings meanwhile is dropped and counted
    reset   membranes and evidence start afresh before the next step, of one source or of all
    end     the stream ends, as at the end of a recording
    """

    def __init__(self) -> None:
        self._running = threading.Event()
        self._running.set()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._resets: set[str | None] = set()  # None: all sources
        self.wake: Callable[[], None] = lambda: None  # the loop hangs in what it waits for

    @property
    def running(self) -> bool:
        return self._running.is_set()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def start(self) -> None:
        self._running.set()
        self.wake()

    def stop(self) -> None:
        self._running.clear()
        self.wake()

    def reset(self, source: str | None = None) -> None:
        with self._lock:
            self._resets.add(source)

    def end(self) -> None:
        self._ended.set()
        self._running.set()
        self.wake()

    def wait(self) -> None:
        """Until running or ended."""
        self._running.wait()

    def take_resets(self) -> set[str | None]:
        """What was asked for since the last call."""
        if not self._resets:
            return self._resets
        with self._lock:
            asked, self._resets = self._resets, set()
        return asked
