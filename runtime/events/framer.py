"""Events -> frames [C, H, W], the same code for a whole recording and for a stream that arrives in pieces.

Count framing is Eq. S1 of Fang et al. 2021: slice j of N events holds [floor(N/T) j, floor(N/T) (j+1)), the last one
the rest; events count in file order and none is late. The timed framings follow a clock, the running maximum of t:

- an event before the start of the open frame is late: counted, not used. Backward steps inside the frame are used;
- a step of more than a second, forward beyond the clock or backward below it, is a discontinuity: the open frame is
  closed, the grid starts again at the new event, and the next frame says so. Never a flood of empty frames;
- a recording of T duration frames that is too short is padded (repeat: the last full frame, the partial one is not
  used; zero: the partial frame, then empty ones); events beyond T frames are filtered.

How the events are split into pushes never changes a frame. An event is used when its frame was stepped. Only the caller
that steps the frame knows this and enters it in the account; until then the event waits (Account).
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.account import Account
from runtime.events.array import EVENT_DTYPE, make_events
from runtime.events.collect import ALL_TAKEN, FULL, GAP, NO_LIMIT, Collector, TakeEvents
from runtime.events.frame import Frame
from runtime.events.framing import Framing
from runtime.events.overlap import Overlap
from runtime.events.slices import count_slices
from runtime.events.view import View
from runtime.native.packets import Evt3Reader, OpenFrame
from runtime.native.rules import check_room

GAP_US = 1_000_000
OPEN = ("has_clock", "clock_us", "open_us", "used", "seen", "invalid")
LIVE_FRAMINGS = "duration:10ms or events:n=5000,max=20ms"


class Framer:
    """Push events in file order, get frames as they close; `close()` gives the last ones.

    shape is the network's (C, H, W), source_size the sensor's (width, height), `upright` what the source says.
    Framings of a whole need `total`, what slices_of says, or for count the number of events. Use one Framer for one recording.
    """

    def __init__(
        self,
        framing: Framing | str,
        shape: tuple[int, int, int],
        source_size: tuple[int, int],
        total: int | Sequence[int] | None = None,
        upright: str = "identity",
    ) -> None:
        self.framing = framing = Framing.parse(framing) if isinstance(framing, str) else framing
        if framing.whole and (total is None or (framing.kind == "time" and isinstance(total, int))):
            raise PlifError(
                f"framing {str(framing)!r} divides a whole recording, of which a live source knows nothing beforehand: "
                f"use {LIVE_FRAMINGS}"
            )
        check_room(str(framing), math.prod(shape))
        self.shape = shape
        self.account = Account()
        self.discontinuities = 0
        self._view = view = View(framing, shape, source_size, upright)
        self._collector = Collector(view)
        self._take: TakeEvents = lambda counts: ALL_TAKEN  # the rest of the packet that came last
        self._empty = np.zeros(shape, np.float32)
        self._empty.flags.writeable = False  # every empty frame shows this one array
        self._buffer = ctypes.c_float * (shape[0] * shape[1] * shape[2])
        self._counts: Any = None  # ctypes array, float32 [C*H*W] of the open frame
        self._emitted, self._most = 0, framing.T or NO_LIMIT  # frames so far, and the most that there may be
        self.overlap = Overlap(framing.pieces, self._empty) if framing.pieces > 1 else None
        self._last = self._empty  # x of the last frame that closed
        self._gap_before = self._restarted = False
        self._closed = False
        self._open = OpenFrame(
            width=view.width,
            height=view.height,
            cells=shape[0] * shape[1] * shape[2],
            gap_us=0 if framing.whole else GAP_US,
            span_us=framing.step_us or 0,
            most_used=framing.n or NO_LIMIT,
            most_seen=NO_LIMIT,
        )
        # count and time
        self._slices = count_slices(framing.T or 1, total) if isinstance(total, int) else list(total or ())
        self._last_us: int | None = None  # of the events so far; at first that of the first one
        # live
        self.now_s = self._due_s = 0.0  # when this packet came, and that of the last event in the open frame
        self._ticked_us: int | None = None  # where the open frame began when time went on without events

    def push(self, events: np.ndarray) -> list[Frame]:
        """Events [N] of EVENT_DTYPE -> the frames that they close, in order."""
        return list(self.frames(events))

    def close(self) -> list[Frame]:
        """The recording has ended: the frames still due."""
        return list(self.closing())

    def frames(
        self, events: np.ndarray, t_us: np.ndarray | None = None, passed: np.ndarray | None = None
    ) -> Iterator[Frame]:
        """As `push`, one frame at a time: memory stays bounded when few events make many frames. Consume it whole.

        Where a filter took some away: `t_us` [N] are the times of all and `passed` [N] says which of them `events` are. The
        others count as filtered, and time goes on with them: a frame ends although nothing in it passed.
        """
        if self._closed:
            raise PlifError("this framer is closed: use a new one for each recording")
        counted = self.framing.whole
        if len(events) and self._last_us is None:
            self._last_us = int(events["t"][0])
        if events.dtype != EVENT_DTYPE:
            events = make_events(*(events[name] for name in "txyp"))
        if t_us is None or passed is None:
            self._take = self._collector.begin(events, self._open)
        elif counted:  # N is that of the events that pass
            self.account.add(len(t_us) - len(events), filtered=len(t_us) - len(events))
            self._take = self._collector.begin(events, self._open)
        else:
            every = np.zeros(len(t_us), EVENT_DTYPE)
            every["t"] = t_us
            every[passed] = events
            self._take = self._collector.begin(every, self._open, passed)
        return self._by_count() if counted else self._by_clock()

    @property
    def takes_words(self) -> bool:
        """Whether `frames_of_words` can be called: where frames follow the clock."""
        return not self.framing.whole

    def frames_of_words(self, words: np.ndarray, reader: Evt3Reader) -> Iterator[Frame]:
        """As `frames`, of words of EVT 3.0, uint16 [N], that are not decoded; `reader` counts what they hold."""
        if self._closed:
            raise PlifError("this framer is closed: use a new one for each recording")
        self._take = self._collector.begin_words(words, reader, self._open)
        return self._by_clock()

    def closing(self) -> Iterator[Frame]:
        """As `close`, one frame at a time."""
        if self._closed:
            return
        self._closed = True
        if self.framing.whole:
            assert self.framing.T is not None
            while self._emitted < self.framing.T:
                last_us = self._last_us or 0
                yield self._emit(self._open.open_us if self._open.seen else last_us, last_us)
        elif self.framing.T is not None:
            yield from self._pad(self.framing.T)
        elif self._open.seen:
            yield self._emit(self._open.open_us, self._end_of_partial())

    def restart(self, afresh: bool = True) -> Iterator[Frame]:
        """The source begins again: closes the open frame. The next frame starts a new grid and is marked as a discontinuity;
        with `afresh` it also asks for a reset of membranes and evidence."""
        if self._open.seen:
            yield self._emit(self._open.open_us, self._end_of_partial())
        self._gap_before, self._restarted = True, self._restarted or afresh
        self._open.has_clock = 0

    # --- silence ----------------------------------------------------------------------------------------------------

    @property
    def clock_us(self) -> int | None:
        """The latest time seen; None before there is one, where frames follow no clock, and when no frame is due any more."""
        frame = self._open
        return int(frame.clock_us) if frame.gap_us and frame.has_clock and self._emitted < self._most else None

    def is_over(self, t_us: int) -> bool:
        """Whether the open frame has ended by then, if no more events come."""
        return self.clock_us is not None and t_us - self._open.open_us >= self._open.span_us

    def tick(self, t_us: int) -> Iterator[Frame]:
        """No event came until t_us, which is now: gives the frames that have ended."""
        frame = self._open
        if self.is_over(t_us) and self._ticked_us is None:
            self._ticked_us = frame.open_us
        while self.is_over(t_us):
            yield self._emit(frame.open_us, frame.open_us + frame.span_us)
            frame.open_us += frame.span_us
        if self._ticked_us is not None:
            frame.clock_us = max(frame.clock_us, t_us)

    def resume(self, t_us: int) -> None:
        """Events come again, the first at t_us. An event that was delayed on its way is not late because of ticks: the grid
        steps back to it, as far as it went on without events."""
        frame, began_us = self._open, self._ticked_us
        if began_us is not None and began_us <= t_us < frame.open_us:
            frame.open_us -= -((t_us - frame.open_us) // frame.span_us) * frame.span_us
            frame.clock_us = t_us
        self._ticked_us = None

    def is_before(self, t_us: int) -> bool:
        """Whether an event of that time lies before the open frame: late, if nothing else is known of it."""
        return bool(self._open.has_clock) and t_us < self._open.open_us

    # --- the open frame ---------------------------------------------------------------------------------------------

    KEEPS = ("discontinuities", "_emitted", "_gap_before", "_restarted", "_ticked_us", "open_fields", "open_counts")

    @property
    def open_fields(self) -> np.ndarray:
        """int64 [6], what the open frame keeps from packet to packet."""
        return np.array([getattr(self._open, name) for name in OPEN], np.int64)

    @open_fields.setter
    def open_fields(self, values: np.ndarray) -> None:
        for name, value in zip(OPEN, values.tolist(), strict=True):
            setattr(self._open, name, value)
        self._due_s = time.perf_counter()
        self.account.add(came=self._open.used)

    @property
    def open_counts(self) -> np.ndarray:
        """float32 [C, H, W], the events in the open frame."""
        return self._empty if self._counts is None else np.frombuffer(self._counts, np.float32).reshape(self.shape)

    @open_counts.setter
    def open_counts(self, values: np.ndarray) -> None:
        self._counts = self._buffer(*values.ravel())

    def is_sound(self) -> bool:
        """Whether the open frame is one that events can have made; another could be followed by frames without number."""
        frame = self._open
        ahead_us = frame.clock_us - frame.open_us
        counted = 0 <= frame.used <= min(frame.seen, frame.most_used) and frame.has_clock in (0, 1)
        return counted and (not frame.has_clock or 0 <= ahead_us <= frame.span_us + GAP_US)

    @property
    def open_events(self) -> int:
        """Events in the open frame."""
        return int(self._open.used)

    def _collect(self) -> int:
        """Events of the packet into the open frame, as far as it goes; returns why it stopped."""
        frame = self._open
        frame.taken = frame.filtered = frame.late = 0
        used_before = frame.used
        if self._emitted >= self._most:
            why = self._take(None)
        else:
            if self._counts is None:
                self._counts = self._buffer()
            why = self._take(self._counts)
        more, filtered, late, invalid = frame.used - used_before, frame.filtered, frame.late, frame.invalid
        if more:
            self._due_s = self.now_s
        self.account.add(more + filtered + late + invalid, filtered=filtered, late=late, invalid=invalid)
        frame.invalid = 0
        return why

    def _emit(self, start_us: int, end_us: int) -> Frame:
        """Close the open frame."""
        if self._counts is None or not self._open.used:
            x: np.ndarray = self._empty  # and the counts, all zero, serve the next frame
        else:
            x = np.frombuffer(self._counts, np.float32).reshape(self.shape)
            if self.framing.value == "binary":
                np.minimum(x, np.float32(1), out=x)
            self._counts = None
        frame = Frame(x, int(start_us), int(end_us), self._open.used, self._gap_before, restart=self._restarted)
        if self.overlap is not None:
            self.overlap.extend(frame, self.framing.value == "binary")
        frame.due_s = self._due_s if frame.events else self.now_s
        frame.complete_s = time.perf_counter()
        self._open.used = self._open.seen = 0
        self._gap_before = self._restarted = False
        self._last = frame.x
        self._emitted += 1
        return frame

    # --- count and time ------------------------------------------------------------------------------------------------------

    def _by_count(self) -> Iterator[Frame]:
        T, frame = self.framing.T, self._open
        assert T is not None
        while True:
            while self._emitted < T - 1 and not self._slices[self._emitted] and self._last_us is not None:
                yield self._emit(self._last_us, self._last_us)
            last = self._emitted >= T - 1
            frame.most_seen = NO_LIMIT if last else self._slices[self._emitted]  # the last slice takes the rest
            fresh = not frame.seen
            why = self._collect()
            if frame.taken:
                if fresh:
                    frame.open_us = frame.first_us
                self._last_us = frame.last_us
            if why != FULL:
                return
            yield self._emit(frame.open_us, frame.last_us)

    # --- duration and events: both follow the clock -----------------------------------------------------------------

    def _by_clock(self) -> Iterator[Frame]:
        frame = self._open
        while (why := self._collect()) != ALL_TAKEN:
            if why == GAP:
                if frame.seen:
                    yield self._emit(frame.open_us, self._end_of_partial())
                self.discontinuities += 1
                self._gap_before = True
                frame.has_clock = 0
            elif why == FULL:
                end_us = frame.last_us  # the last event taken is the n-th one
                yield self._emit(frame.open_us, end_us)
                frame.open_us = end_us
            else:
                for _ in range((frame.next_us - frame.open_us) // frame.span_us):
                    yield self._emit(frame.open_us, frame.open_us + frame.span_us)
                    frame.open_us += frame.span_us
                    if self.framing.T is not None and self._emitted >= self.framing.T:
                        break

    def _end_of_partial(self) -> int:
        """A frame that is closed early ends where its grid says; by number, at the latest time seen."""
        frame = self._open
        return frame.open_us + frame.span_us if self.framing.kind == "duration" else max(frame.open_us, frame.clock_us)

    def _pad(self, T: int) -> Iterator[Frame]:
        """duration with T: as many frames as are missing."""
        frame = self._open
        repeat = self.framing.pad == "repeat"
        if self._emitted and repeat:
            self.account.add(filtered=frame.used)  # the partial frame is not used
            self._counts, frame.used, frame.seen, self._gap_before = None, 0, 0, False
        elif self._emitted < T:
            yield self._emit(frame.open_us, frame.open_us + frame.span_us)
            frame.open_us += frame.span_us
        last = self._last
        while self._emitted < T:
            padded = self._emit(frame.open_us, frame.open_us + frame.span_us)
            padded.x = last if repeat else padded.x
            frame.open_us += frame.span_us
            yield padded
