"""The frames of a whole source: source -> packets -> filters -> framer, with the account of every event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.filters import Filters
from runtime.events.framer import GAP_US, Account, Frame, Framer
from runtime.events.framing import Framing
from runtime.events.sources.base import Source, waits

SLACK_S = 0.05  # a packet may be so late without its frame being closed before it came
LEAST_TICK_S = 0.005  # how often a silent source is looked at, at most


class Watcher(Protocol):
    """Who hears of what a source gives, before any filter. Calls come in the thread that reads."""

    def on_packet(self, events: np.ndarray, arrived_s: float) -> None: ...

    def on_return(self) -> None: ...

    def on_tick(self, t_us: int) -> None: ...


class SourceFramer:
    """Iterates the frames of a whole source; `account` is right at every moment, the source's own losses included.

    filters  text of runtime.events.filters, between the source and the frames
    returns  hold: a live source that was lost and came back just goes on (on a new grid where its clock began again);
             reset: its grid starts again, and the next frame says that membranes must, too. A gap of more than a second
             in the events' own time is a discontinuity either way
    watch    hears of packets, returns and ticks (on_packet, on_return, on_tick)
    A live source that is silent for longer than a frame lasts and its packets reach back (SLACK_S at least) makes empty
    frames: its time goes on with ours (a tick). No event that it sends later is late because of them.
    Count framing reads a recording twice (first to count); a live source is refused with what to use instead.
    """

    def __init__(
        self,
        source: Source,
        framing: Framing | str,
        shape: tuple[int, int, int],
        *,
        filters: str | None = None,
        returns: str = "hold",
        watch: Watcher | None = None,
    ) -> None:
        self.source, self.watch = source, watch
        if returns not in ("hold", "reset"):
            raise PlifError(f"--on-return {returns}: expected hold or reset")
        framing = Framing.parse(framing) if isinstance(framing, str) else framing
        self._filter_text, self._returns = filters, returns
        self.filters = self._make_filters()
        total = self._count() if framing.kind == "count" and not source.live else None
        size = self.filters.sensor if self.filters else source.sensor
        self.framer = Framer(framing, shape, size, total=total, upright=source.upright)
        self._heard_s, self._clock_us = 0.0, 0  # time.perf_counter() when events came last, and the framer's clock then
        self._reach_s = 0.0  # how far back packets reach: a sender that gathers events is not silent meanwhile
        span_us = 0 if framing.kind == "count" else framing.duration_us or framing.max_us or 0
        self._span_s = span_us / 1e6
        if span_us and source.live and not waits(source) and hasattr(source, "tick_s"):
            source.tick_s = max(self._span_s, LEAST_TICK_S)
        self._invalid = self._dropped = 0

    def _make_filters(self) -> Filters | None:
        return Filters(self._filter_text, self.source.sensor) if self._filter_text else None

    def _count(self) -> int:
        """Events that will reach the framer: another pass, with filters of its own."""
        filters = self._make_filters()
        if filters is None:
            return self.source.count()
        return sum(len(filters(_inside(packet, self.source.sensor))[0]) for packet in self.source.packets())

    @property
    def account(self) -> Account:
        return self.framer.account

    @property
    def notes(self) -> list[str]:
        return [*self.source.notes, *(self.filters.notes if self.filters else [])]

    def __iter__(self) -> Iterator[Frame]:
        came_back = 0
        for packet in self.source.packets():
            now_s = self.framer.now_s = time.perf_counter()
            if not len(packet):
                self._losses()
                yield from self._silent()
                continue
            self.framer.resume(int(packet["t"][0]))
            if came_back != getattr(self.source, "returns", 0):
                came_back = getattr(self.source, "returns", 0)
                if self.watch:
                    self.watch.on_return()
                afresh = self._returns == "reset"
                if afresh or self.framer.is_before(int(packet["t"][0])):  # its clock began again
                    yield from self.framer.restart(afresh)
            self._losses()
            if self.watch:
                self.watch.on_packet(packet, now_s)
            yield from self._framed(packet)
            self._heard_s, self._clock_us = now_s, self.framer.clock_us or 0
            reach_s = (int(packet["t"][-1]) - int(packet["t"][0])) / 1e6
            self._reach_s = max(min(reach_s, GAP_US / 1e6), 0.9 * self._reach_s)
        self._losses()
        yield from self.framer.closing()

    def _silent(self) -> Iterator[Frame]:
        t_us = self._now_us()
        if t_us is None or not self.framer.is_over(t_us):
            return
        if self.watch:
            self.watch.on_tick(t_us)
        lost = bool(getattr(self.source, "lost", False))
        for frame in self.framer.tick(t_us):
            frame.lost = lost
            yield frame

    def _now_us(self) -> int | None:
        """The time of a silent source, that of its last events and ours since then; None where it need not be silent."""
        clock_us = self.framer.clock_us
        silent_s = self.framer.now_s - self._heard_s
        if (
            clock_us is None
            or getattr(self.source, "tick_s", None) is None
            or silent_s < self._span_s + max(SLACK_S, self._reach_s)
        ):
            return None
        t_us = self._clock_us + int(1e6 * silent_s)
        return min(t_us, clock_us + GAP_US)  # however long this thread did not run: never a flood of empty frames

    def _framed(self, packet: np.ndarray) -> Iterator[Frame]:
        if self.filters is None:
            return self.framer.frames(packet)
        inside = _inside(packet, self.source.sensor)
        self.account.take(invalid=len(packet) - len(inside))
        events, passed = self.filters(inside)
        return self.framer.frames(events, None if passed is None else inside["t"], passed)

    def _losses(self) -> None:
        """Enter what the source could not use since the last look."""
        invalid, dropped = self.source.invalid, int(getattr(self.source, "dropped", 0))
        self.account.take(invalid=invalid - self._invalid, dropped=dropped - self._dropped)
        self._invalid, self._dropped = invalid, dropped


def _inside(events: np.ndarray, sensor: tuple[int, int]) -> np.ndarray:
    """Sources give nothing else; a source of somebody else's may."""
    good = (events["x"] < sensor[0]) & (events["y"] < sensor[1])
    return events if good.all() else events[good]


def frame_source(source: Source, framing: Framing | str, shape: tuple[int, int, int]) -> SourceFramer:
    """The frames of a source, one at a time: `for frame in frame_source(source, "duration:10ms", (2, 128, 128))`."""
    return SourceFramer(source, framing, shape)
