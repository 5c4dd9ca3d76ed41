"""Events -> frames [C, H, W], the same for a whole recording and for a stream that arrives in pieces.

libplif makes the frames (framer.c, docs/events.md); here they become arrays. How the events are split into pushes never changes
a frame. An event is used when its frame was stepped. Only the caller that steps the frame knows this and enters it in the
account; until then the event waits (Account).
"""

from __future__ import annotations

import ctypes as c
import math
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.account import Account
from runtime.core.events.array import EVENT_DTYPE, make_events
from runtime.core.events.frame import Frame
from runtime.core.events.framing import UPRIGHT, Framing
from runtime.native.interface import (
    AFRESH,
    GAP,
    Evt3Reader,
    NativeSession,
    PlifInput,
    PlifNetwork,
    PlifPacket,
    PlifTime,
    error,
)

PASSED = 1  # what filters say of an event that passes
GAP_US = 1_000_000
LIVE_FRAMINGS = "duration:10ms or events:n=5000,max=20ms"


class Extent(NamedTuple):
    """What framings of a whole have to know of a recording: its events, and the times in us of the first and the last."""

    events: int
    first_us: int = 0
    last_us: int = 0


def extent_of(framing: Framing, packets: Iterable[np.ndarray]) -> Extent | None:
    """The extent of the recording that consists of these packets [N] of events; None for a framing that follows a clock."""
    if not framing.whole:
        return None
    events = first_us = last_us = 0
    for packet in packets:
        if len(packet):
            first_us, last_us = first_us if events else int(packet["t"][0]), int(packet["t"][-1])
            events += len(packet)
    return Extent(events, first_us, last_us)


class Framer(NativeSession):
    """Push events in file order, get frames as they close; `close()` gives the last ones.

    shape is the network's (C, H, W), source_size the sensor's (width, height), `upright` what the source says.
    Framings of a whole need the extent of the recording. Use one Framer for one recording.
    """

    def __init__(
        self,
        framing: Framing | str,
        shape: tuple[int, int, int],
        source_size: tuple[int, int],
        extent: Extent | None = None,
        upright: str = "identity",
    ) -> None:
        self.framing = framing = Framing.parse(framing) if isinstance(framing, str) else framing
        if framing.whole and extent is None:
            raise PlifError(
                f"framing {str(framing)!r} divides a whole recording, of which a live source knows nothing beforehand: "
                f"use {LIVE_FRAMINGS}"
            )
        if upright not in UPRIGHT:
            raise PlifError(f"upright={upright!r} is not known; expected {', '.join(UPRIGHT)}")
        events, first_us, last_us = extent or Extent(-1)
        super().__init__(
            PlifNetwork(c.sizeof(PlifNetwork), 0, 1, 1, None, *shape),
            framing=str(framing),
            sensor_width=source_size[0],
            sensor_height=source_size[1],
            upright=UPRIGHT.index(upright),
            total_events=events,
            first_us=first_us,
            last_us=last_us,
        )
        self.shape, self.source_size = shape, source_size
        self.account = Account()
        self.now_s = 0.0  # when this packet came
        self._overlaps = framing.pieces > 1
        self._repeats = framing.kind == "duration" and framing.T is not None and framing.pad == "repeat"
        self._closed = False
        self._empty = np.zeros(shape, np.float32)
        self._empty.flags.writeable = False  # every empty frame shows this one array
        self._floats = c.c_float * math.prod(shape)
        self._x: Any = self._floats()  # where the next frame goes, and, where frames overlap, what only it shows
        self._newest: Any = self._floats() if self._overlaps else None
        self._found = PlifInput(c.sizeof(PlifInput))
        self._of_found = c.byref(self._found)

    @property
    def shown(self) -> str:
        """As Framing.shown, of this sensor and network."""
        return self.framing.shown(self.source_size, self.shape)

    def push(self, events: np.ndarray) -> list[Frame]:
        """Events [N] of EVENT_DTYPE -> the frames that they close, in order."""
        return list(self.frames(events))

    def close(self) -> list[Frame]:
        """The recording has ended: the frames still due."""
        return list(self.closing())

    def frames(self, events: np.ndarray, fate: np.ndarray | None = None) -> Iterator[Frame]:
        """As `push`, one frame at a time: memory stays bounded when few events make many frames. Consume it whole.

        fate  uint8 [N], what filters said of each event (Filters). Those that are filtered count as such, and time goes on with
              them: a frame ends although nothing in it passed.
        """
        self._check_open()
        if events.dtype != EVENT_DTYPE:
            events = make_events(*(events[name] for name in "txyp"))
        whole = np.ascontiguousarray(events)  # a packet is contiguous already, so nothing is copied
        address = None if fate is None else fate.ctypes.data
        packet = PlifPacket(c.sizeof(PlifPacket), whole.ctypes.data, len(whole), 0, address, self.now_s)
        take = partial(self._library.plif_frame_events, self._at, c.byref(packet), self._of_found)
        return self._given(take, whole, fate)

    @property
    def takes_words(self) -> bool:
        """Whether `frames_of_words` can be called: where frames follow the clock."""
        return not self.framing.whole

    def frames_of_words(self, words: np.ndarray, reader: Evt3Reader) -> Iterator[Frame]:
        """As `frames`, of words of EVT 3.0, uint16 [N], that are not decoded; `reader` counts what they hold."""
        self._check_open()
        whole = np.require(words, "<u2", ["C", "A"])  # a chunk of a file has this form already and is not copied
        at = (c.byref(c.c_int64()), c.byref(reader), self.now_s)
        take = partial(self._library.plif_frame_words, self._at, whole.ctypes.data, len(whole), *at, self._of_found)
        return self._given(take, whole)

    def closing(self) -> Iterator[Frame]:
        """As `close`, one frame at a time."""
        if self._closed:
            return iter(())
        self._closed = True
        return self._given(partial(self._library.plif_frame_finish, self._at, self._of_found))

    def restart(self, afresh: bool = True) -> Iterator[Frame]:
        """The source begins again: closes the open frame. The next frame starts a new grid and is marked as a discontinuity;
        with `afresh` it also asks for a reset of membranes and evidence."""
        return self._given(
            partial(self._library.plif_frame_restart, self._at, GAP | afresh * AFRESH, self._of_found), once=True
        )

    def _check_open(self) -> None:
        if self._closed:
            raise PlifError("this framer is closed: use a new one for each recording")

    def _given(self, take: Callable[[], int], *_alive: object, once: bool = False) -> Iterator[Frame]:
        """The frames that a function of libplif gives until it has no more; `_alive` holds what it reads."""
        found, account = self._found, self.account
        while True:
            found.x = c.addressof(self._x)
            found.newest = c.addressof(self._newest) if self._overlaps else None
            got = take()
            if not account.closed:
                self._library.plif_account_of(self._at, c.byref(account.of_framer))
            if got <= 0:
                if got < 0:
                    raise error()
                return
            x: np.ndarray = self._empty
            if found.events or self._overlaps or self._repeats:
                x = np.frombuffer(self._x, np.float32).reshape(self.shape)
                self._x = self._floats()
            flags = found.flags
            frame = Frame(
                x, found.start_us, found.end_us, found.events, bool(flags & GAP), restart=bool(flags & AFRESH)
            )
            if self._overlaps:
                frame.newest = np.frombuffer(self._newest, np.float32).reshape(self.shape)
                self._newest = self._floats()
            frame.complete_s = time.perf_counter()
            frame.due_s = (found.came_s or frame.complete_s) if found.events else self.now_s
            yield frame
            if once:
                return

    # --- silence ----------------------------------------------------------------------------------------------------

    @property
    def time(self) -> PlifTime:
        """Where the open frame begins, the latest time, events that wait in it, gaps so far."""
        found = PlifTime()
        self._library.plif_time_of(self._at, c.byref(found))
        return found

    @property
    def clock_us(self) -> int | None:
        """The latest time seen; None before there is one, where frames follow no clock, and when no frame is due any more."""
        found = self.time
        return int(found.clock_us) if found.is_known else None

    def is_over(self, t_us: int) -> bool:
        """Whether the open frame has ended by then, if no more events come."""
        found = self.time
        return bool(found.is_known) and t_us - found.open_us >= (self.framing.step_us or 0)

    def tick(self, t_us: int) -> Iterator[Frame]:
        """No event came until t_us, which is now: gives the frames that have ended."""
        return self._given(partial(self._library.plif_frame_tick, self._at, t_us, self._of_found))

    def resume(self, t_us: int) -> bool:
        """Events come again, the first at t_us. An event that was delayed on its way is not late because of ticks: the grid
        steps back to it, as far as it went on without events. Whether it lies before the open frame all the same."""
        return bool(self._library.plif_resume(self._at, t_us) > 0)

    def go_on(self, kept: np.ndarray) -> None:
        """Begins with what `kept` of another one was, uint8 [bytes], in the middle of its frame. PlifError for other bytes."""
        self.kept = kept
        self._library.plif_account_of(self._at, c.byref(self.account.of_framer))
        self.account.begin_after(self.time.waiting)

    # --- frames that wait -------------------------------------------------------------------------------------------

    def join(self, newer: Frame, older: Frame) -> None:
        """`newer` becomes both: counts add up (binary: either), from the start of the older one to its own end."""
        each = [
            PlifInput(c.sizeof(PlifInput), flags=f.discontinuity * GAP | f.restart * AFRESH) for f in (newer, older)
        ]
        newer.x = np.array(newer.x)
        newer.newest = None if newer.newest is None else np.array(newer.newest)
        for one, frame in zip(each, (newer, older), strict=True):
            one.x, one.newest = frame.x.ctypes.data, None if frame.newest is None else frame.newest.ctypes.data
            one.start_us, one.end_us, one.events = frame.t_start_us, frame.t_end_us, frame.events
            one.came_s = frame.due_s
        if self._library.plif_join(self._at, *map(c.byref, each)):
            raise error()
        both = each[0]
        newer.t_start_us, newer.events, newer.due_s = both.start_us, both.events, both.came_s
        newer.discontinuity, newer.restart = bool(both.flags & GAP), bool(both.flags & AFRESH)
        newer.merged += older.merged
        newer.skipped += older.skipped
