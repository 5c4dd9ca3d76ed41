"""The frames of a complete source: source -> packets -> filters -> framer, with the account of every event."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.account import Account
from runtime.core.events.frame import Frame
from runtime.core.events.framer import GAP_US, PASSED, Extent, Framer, measure_extent
from runtime.core.events.framing import Framing
from runtime.core.events.sources.base import Source
from runtime.core.observers import find_observers
from runtime.core.stream.observe import Observers
from runtime.native.interface import Evt3Reader

SLACK_S = 0.05  # a packet may be this late, and its frame is still open
LEAST_TICK_S = 0.005  # the shortest interval between two checks of a silent source
LATE_S = 0.5  # interval of the check for late events
LATE_AGAIN_S = 60.0  # the shortest interval between two reports of late events


class SourceFramer:
    """An iterator over the frames of an event source, made by a framer and optional event filters.

    framing    how events become frames; shape is the network's (C, H, W)
    filters    the filters of a part (runtime.observers.event_filters) between the source and the frames
    on_return  hold: a live source that was lost and came back just continues (on a new time grid where its clock began
               again); reset: its time grid starts again, and the next frame requests a reset of the membranes. A gap
               of more than a second in the events' own time is a discontinuity either way
    name       the source's name for observers; they hear of packets (before any filter), returns and ticks, in the
               thread that iterates

    A live source reports when most of its events are late: its clock stepped back, which counts as a return, or
    another sender is ahead of it. A live source that is silent for longer than a frame lasts and its packets reach
    back (SLACK_S at least) makes empty frames: its time advances with ours (a tick). No event that it sends later is
    late because of them. Offline framings read a recording twice; a live source is refused, with a framing to use
    instead.
    """

    def __init__(
        self,
        source: Source,
        framing: Framing | str,
        shape: tuple[int, int, int],
        *,
        filters: str | None = None,
        on_return: str = "hold",
        observers: Observers | None = None,
        name: str | None = None,
    ) -> None:
        if on_return not in ("hold", "reset"):
            raise PlifError(f"--on-return {on_return}: expected hold or reset")
        self.source, self.name = source, name or source.name
        framing = Framing.parse(framing) if isinstance(framing, str) else framing
        self._observers = observers or Observers()
        self._filter_text, self._on_return = filters, on_return
        self.filters = self._make_filters()
        extent = self._measure_extent(framing) if framing.is_offline and not source.live else None
        size = self.filters.sensor if self.filters else source.sensor
        self.framer = Framer(framing, shape, size, extent, source.upright)
        self._heard_s, self._clock_us = 0.0, 0  # time.perf_counter() when events came last, and the framer's clock then
        self._reach_s = 0.0  # how far back packets reach: a sender that gathers events is not silent meanwhile
        span_us = framing.step_us or 0
        self._span_s = span_us / 1e6
        if span_us and source.live and not source.waits:
            source.tick_s = max(self._span_s, LEAST_TICK_S)
        self._invalid = self._dropped = 0  # of the source, as far as they are in the account
        self._last_check = (0.0, 0, 0)  # the last check: time, arrived events, late events
        self._late_said_s: float | None = None
        self._late_notes: list[str] = []
        self.keep_open = False  # at the end the open frame is not closed: another run continues it
        self.ended = False  # the source came to its end
        self._resumed = False

    def save_state(self) -> dict[str, np.ndarray]:
        """Return the state that an event source's frames depend on, as arrays by name.

        Types and shapes of the arrays [...] follow from the options.
        """
        state = {"frames": self.framer.saved_state, "reach_s": np.array([self._reach_s])}
        return {**state, "filters": self.filters.snapshot} if self.filters else state

    def restore_state(self, state: dict[str, np.ndarray]) -> None:
        """Restore the state that `save_state` of an earlier run returned, arrays of the same shapes.

        Raise PlifError for other numbers.
        """
        if self.filters:
            self.filters.snapshot = state["filters"]
        self.framer.restore_state(state["frames"])
        self._reach_s = float(state["reach_s"][0])
        self._heard_s, self._clock_us, self._resumed = time.perf_counter(), self.framer.clock_us or 0, True

    def _make_filters(self) -> Any:
        """Create a new chain of event filters; return None if no filters were requested."""
        if not self._filter_text:
            return None
        for part in find_observers("filters"):
            return part.load("Filters")(self._filter_text, self.source.sensor)
        raise PlifError(f"--filter {self._filter_text}: no part here filters events")

    def _measure_extent(self, framing: Framing) -> Extent | None:
        """Measure the extent (count, first and last time) of the events that will reach the framer."""
        if framing.kind == "count" and not self._filter_text:
            return Extent(self.source.count())
        return measure_extent(framing, self._read_filtered())

    def _read_filtered(self) -> Iterator[np.ndarray]:
        """Yield the events of a source that pass the filters, in another pass with filters of its own."""
        filters, (width, height) = self._make_filters(), self.source.sensor
        for packet in self.source.packets():
            if filters:
                events, fate = filters(packet)
                yield events[fate == PASSED]
            else:
                yield packet[(packet["x"] < width) & (packet["y"] < height)]

    @property
    def account(self) -> Account:
        """The account of a source's events: their counts by outcome.

        The caller that steps the frames enters their events as used, or as dropped.
        """
        return self.framer.account

    @property
    def notes(self) -> list[str]:
        return [
            *self.source.guesses,
            *self.source.notes,
            *(self.filters.notes if self.filters else []),
            *self._late_notes,
        ]

    def __iter__(self) -> Iterator[Frame]:
        return self.source.choose(chain.from_iterable(self._iter_packets()), self.framer)

    def _iter_packets(self) -> Iterator[Iterator[Frame]]:
        """Yield for each packet of an event source an iterator over the frames that it completes.

        Frames are made during iteration, before the next packet is read.
        """
        observed = self.filters is not None or self._observers.on_packet is not None
        words = self.source.words() if self.framer.accepts_words and not observed else None
        yield from self._frame_packets() if words is None else self._frame_words(words)
        self._enter_losses()
        self.ended = True
        if not self.keep_open:
            yield self.framer.iter_last_frames()

    def _frame_words(self, words: Iterator[tuple[np.ndarray, Evt3Reader]]) -> Iterator[Iterator[Frame]]:
        """Yield the frames made from a recording's undecoded words; only where nobody observes its events."""
        for part, reader in words:
            self.framer.now_s = time.perf_counter()
            self._enter_losses()
            yield self.framer.iter_word_frames(part, reader)

    def _frame_packets(self) -> Iterator[Iterator[Frame]]:
        source, framer, observers = self.source, self.framer, self._observers
        returns = 0
        for packet in source.packets():
            now_s = framer.now_s = time.perf_counter()
            if not len(packet):
                self._enter_losses()
                yield self._frame_silence()
                continue
            first_us, last_us = int(packet["t"][0]), int(packet["t"][-1])
            late = framer.resume(first_us)
            if late and self._resumed and source.live:  # its clock began again meanwhile
                yield framer.restart(afresh=False)
                late = False
            self._resumed = False
            if source.live:
                self._check_late(now_s)
            if returns != source.returns:
                returns = source.returns
                if observers.on_return:
                    observers.on_return(self.name)
                if late or self._on_return == "reset":  # its clock began again
                    yield framer.restart(self._on_return == "reset")
            self._enter_losses()
            if observers.on_packet:
                observers.on_packet(self.name, packet, now_s)
            yield self._frame_events(packet)
            self._heard_s, self._clock_us = now_s, framer.clock_us or 0
            # a sender that gathers its events for 20 ms sends packets that reach 20 ms back
            self._reach_s = max(min((last_us - first_us) / 1e6, GAP_US / 1e6), 0.9 * self._reach_s)

    def _check_late(self, now_s: float) -> None:
        """Report a live source, once a minute, if more than half of its recent events were late.

        Recent means since the last check. The source then counts as returned at an earlier time.
        """
        account, (looked_s, arrived, late) = self.account, self._last_check
        if now_s - looked_s < LATE_S:
            return
        self._last_check = (now_s, account.events_in, account.late)
        arrived, late = account.events_in - arrived, account.late - late
        if not looked_s or 2 * late <= arrived:
            return
        self.source.returns += 1
        if self._late_said_s is None or now_s - self._late_said_s >= LATE_AGAIN_S:
            self._late_said_s = now_s
            text = (
                f"{late} of {arrived} events of the last {now_s - looked_s:.1f} s were late, and not used: the sender's clock "
                "stepped back, or another sender is ahead of it"
            )
            self.source.say(text)
            if not self._late_notes:
                self._late_notes.append(f"{self.source.name}: {text}")

    def _frame_silence(self) -> Iterator[Frame]:
        """Yield the frames that have ended while the source is silent."""
        t_us = self.source.until_us if self.source.stepped else self._silent_until_us()
        if t_us is None or not self.framer.is_over(t_us):
            return
        if self._observers.on_tick:
            self._observers.on_tick(self.name, t_us)
        lost = self.source.lost
        for frame in self.framer.tick(t_us):
            frame.lost = lost
            yield frame

    def _silent_until_us(self) -> int | None:
        """Return the current time of a silent source, in us: the time of its last event plus the silence.

        Return None where the source may not count as silent.
        """
        clock_us, silent_s = self.framer.clock_us, self.framer.now_s - self._heard_s
        if clock_us is None or self.source.tick_s is None or silent_s < self._span_s + max(SLACK_S, self._reach_s):
            return None
        t_us = self._clock_us + int(1e6 * silent_s)
        return min(t_us, clock_us + GAP_US)  # bounded: no flood of empty frames after this thread did not run for long

    def _frame_events(self, packet: np.ndarray) -> Iterator[Frame]:
        return self.framer.iter_frames(*self.filters(packet)) if self.filters else self.framer.iter_frames(packet)

    def _enter_losses(self) -> None:
        """Add an event source's invalid and dropped events since the last call to the account of its events."""
        invalid, dropped = self.source.invalid - self._invalid, self.source.dropped - self._dropped
        if invalid or dropped:
            self.account.add(invalid + dropped, invalid=invalid, dropped=dropped)
            self._invalid += invalid
            self._dropped += dropped
