"""Events -> frames [C, H, W], the same for a complete recording and for a stream that arrives in pieces.

libplif makes the frames (framer.c, docs/events.md); this module turns them into arrays. The split of events into
packets never changes a frame. An event is used once its frame was stepped. Only the caller that steps the frame knows
this and enters it in the account; until then the event is waiting (Account).
"""

from __future__ import annotations

import ctypes as c
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
    FOLLOWED,
    GAP,
    Evt3Reader,
    NativeSession,
    PlifInput,
    PlifNetwork,
    PlifPacket,
    PlifTime,
    last_error,
)

PASSED = 1  # the filters' verdict for an event that passes
GAP_US = 1_000_000
LIVE_FRAMINGS = "duration:10ms or events:n=5000,max=20ms"


class Extent(NamedTuple):
    """The extent of a recording, which offline framings need: its events, its first and last time in us."""

    events: int
    first_us: int = 0
    last_us: int = 0


def measure_extent(framing: Framing, packets: Iterable[np.ndarray]) -> Extent | None:
    """Measure the extent of a recording given as packets [N] of events.

    Return None for a framing that follows a clock, which needs no extent.
    """
    if not framing.is_offline:
        return None
    events = first_us = last_us = 0
    for packet in packets:
        if len(packet):
            first_us, last_us = first_us if events else int(packet["t"][0]), int(packet["t"][-1])
            events += len(packet)
    return Extent(events, first_us, last_us)


class Framer(NativeSession):
    """A converter from the events of one recording or stream, pushed in file order, to frames.

    shape is the network's (C, H, W), source_size the sensor's (width, height), `upright` the source's orientation.
    Offline framings need the extent of the recording. Use one Framer for one recording.
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
        if framing.is_offline and extent is None:
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
        self.now_s = 0.0  # time.perf_counter() when the current packet arrived
        self._overlaps = framing.pieces > 1
        self._repeats = framing.kind == "duration" and framing.T is not None and framing.pad == "repeat"
        self._closed = False
        self._empty = np.zeros((framing.pictures, *shape), np.float32)
        self._empty.flags.writeable = False
        self._empty_x = self._empty[0]  # every empty frame shows this one array
        self._floats = c.c_float * self._empty.size
        self._x: Any = self._floats()  # memory of the next frame and, where frames overlap, of its newest piece
        self._newest: Any = self._floats() if self._overlaps else None
        self._input = PlifInput(c.sizeof(PlifInput))
        self._input_ref = c.byref(self._input)

    @property
    def sampling_note(self) -> str:
        """A text such as "one pixel of 14" where resize=nearest leaves sensor pixels out, else ""."""
        return self.framing.describe_sampling(self.source_size, self.shape)

    def push(self, events: np.ndarray) -> list[Frame]:
        """Push events [N] of EVENT_DTYPE into a framer and return the frames that they complete, in order."""
        return list(self.iter_frames(events))

    def close(self) -> list[Frame]:
        """End the recording in a framer and return the frames that are still open."""
        return list(self.iter_last_frames())

    def iter_frames(self, events: np.ndarray, verdicts: np.ndarray | None = None) -> Iterator[Frame]:
        """Push events [N] into a framer and yield the frames that they complete, one at a time.

        Memory stays bounded when few events make many frames. Consume the iterator completely.

        verdicts  uint8 [N], the filters' verdict for each event (Filters). Removed events count as filtered, and time
                  advances with them: a frame ends even if no event of it passed.
        """
        self._check_open()
        if events.dtype != EVENT_DTYPE:
            events = make_events(*(events[name] for name in "txyp"))
        contiguous = np.ascontiguousarray(events)  # a packet is contiguous already, so nothing is copied
        address = None if verdicts is None else verdicts.ctypes.data
        packet = PlifPacket(c.sizeof(PlifPacket), contiguous.ctypes.data, len(contiguous), 0, address, self.now_s)
        fetch = partial(self._library.plif_frame_events, self._handle, c.byref(packet), self._input_ref)
        return self._fetch_frames(fetch, contiguous, verdicts)

    @property
    def accepts_words(self) -> bool:
        """Return whether a framer accepts undecoded words of a file: only where frames follow the clock."""
        return not self.framing.is_offline and self.framing.pictures == 1

    def iter_word_frames(self, words: np.ndarray, reader: Evt3Reader) -> Iterator[Frame]:
        """Push undecoded words of EVT 3.0, uint16 [N], into a framer and yield the frames that they complete.

        `reader` counts the events of the words.
        """
        self._check_open()
        contiguous = np.require(words, "<u2", ["C", "A"])  # a chunk of a file has this form already and is not copied
        arguments = (c.byref(c.c_int64()), c.byref(reader), self.now_s)
        fetch = partial(
            self._library.plif_frame_words,
            self._handle,
            contiguous.ctypes.data,
            len(contiguous),
            *arguments,
            self._input_ref,
        )
        return self._fetch_frames(fetch, contiguous)

    def iter_last_frames(self) -> Iterator[Frame]:
        """End the recording in a framer and yield the frames that are still open, one at a time."""
        if self._closed:
            return iter(())
        self._closed = True
        return self._fetch_frames(partial(self._library.plif_frame_finish, self._handle, self._input_ref))

    def restart(self, afresh: bool = True) -> Iterator[Frame]:
        """Close a framer's open frame and yield it, because the event source starts again.

        The next frame starts a new time grid and is marked as a discontinuity. With `afresh` it also requests a reset
        of membranes and evidence.
        """
        return self._fetch_frames(
            partial(self._library.plif_frame_restart, self._handle, GAP | afresh * AFRESH, self._input_ref), once=True
        )

    def _check_open(self) -> None:
        if self._closed:
            raise PlifError("this framer is closed: use a new one for each recording")

    def _fetch_frames(self, fetch: Callable[[], int], *_alive: object, once: bool = False) -> Iterator[Frame]:
        """Yield the frames that a function of libplif returns, until it has no more.

        `_alive` keeps the memory that the function reads.
        """
        native_frame, account = self._input, self.account
        while True:
            native_frame.x = c.addressof(self._x)
            native_frame.newest = c.addressof(self._newest) if self._overlaps else None
            code = fetch()
            if not account.closed:
                self._library.plif_account_of(self._handle, c.byref(account.framer_account))
            if code <= 0:
                if code < 0:
                    raise last_error()
                return
            pictures, x = self._empty, self._empty_x
            if native_frame.events or self._overlaps or self._repeats:
                pictures = np.frombuffer(self._x, np.float32).reshape(self._empty.shape)
                x = pictures[0]
                self._x = self._floats()
            flags = native_frame.flags
            times = native_frame.start_us, native_frame.end_us
            frame = Frame(x, *times, native_frame.events, bool(flags & GAP), restart=bool(flags & AFRESH))
            if self._overlaps:
                frame.newest = np.frombuffer(self._newest, np.float32).reshape(self._empty.shape)
                self._newest = self._floats()
            if len(pictures) > 1:
                frame.add_view(pictures, native_frame.window, bool(flags & FOLLOWED))
            frame.complete_s = time.perf_counter()
            frame.due_s = (native_frame.came_s or frame.complete_s) if native_frame.events else self.now_s
            yield frame
            if once:
                return

    # --- silence ----------------------------------------------------------------------------------------------------

    @property
    def time_state(self) -> PlifTime:
        """The state of a framer in time: start of the open frame, latest time, waiting events, and gaps so far."""
        state = PlifTime()
        self._library.plif_time_of(self._handle, c.byref(state))
        return state

    @property
    def clock_us(self) -> int | None:
        """The latest event time in us that a framer has seen, or None.

        It is None before the first event, where frames follow no clock, and when no frame is due any more.
        """
        state = self.time_state
        return int(state.clock_us) if state.is_known else None

    def is_over(self, t_us: int) -> bool:
        """Return whether a framer's open frame ends by the time t_us if no more events come."""
        state = self.time_state
        return bool(state.is_known) and t_us - state.open_us >= (self.framing.step_us or 0)

    def tick(self, t_us: int) -> Iterator[Frame]:
        """Advance the framer of a silent source to the time t_us, which is now; yield the frames that have ended."""
        return self._fetch_frames(partial(self._library.plif_frame_tick, self._handle, t_us, self._input_ref))

    def resume(self, t_us: int) -> bool:
        """Resume a framer after silence with an event at t_us; return whether that event is late.

        An event that was delayed on its way is not late because of ticks: the time grid steps back to it, as far as
        the grid advanced without events. The result is True if the event lies before the open frame nevertheless.
        """
        return bool(self._library.plif_resume(self._handle, t_us) > 0)

    def restore_state(self, state: np.ndarray) -> None:
        """Restore a framer from the saved state of another one, uint8 [bytes], in the middle of its frame.

        Raise PlifError for other bytes.
        """
        self.saved_state = state
        self._library.plif_account_of(self._handle, c.byref(self.account.framer_account))
        self.account.exclude_earlier_run(self.time_state.waiting)

    # --- frames that wait -------------------------------------------------------------------------------------------

    def join(self, newer: Frame, older: Frame) -> None:
        """Merge two frames: add the event counts of `older` to those of `newer` (binary: either).

        The merged frame lasts from the start of the older one to the end of the newer one.
        """
        inputs = [
            PlifInput(c.sizeof(PlifInput), flags=f.discontinuity * GAP | f.restart * AFRESH) for f in (newer, older)
        ]
        newer.copy_pictures()
        newer.newest = None if newer.newest is None else np.array(newer.newest)
        for native_frame, frame in zip(inputs, (newer, older), strict=True):
            native_frame.x, native_frame.newest = (
                frame.x.ctypes.data,
                None if frame.newest is None else frame.newest.ctypes.data,
            )
            native_frame.start_us, native_frame.end_us, native_frame.events = (
                frame.t_start_us,
                frame.t_end_us,
                frame.events,
            )
            native_frame.came_s = frame.due_s
        if self._library.plif_join(self._handle, *map(c.byref, inputs)):
            raise last_error()
        merged = inputs[0]
        newer.t_start_us, newer.events, newer.due_s = merged.start_us, merged.events, merged.came_s
        newer.discontinuity, newer.restart = bool(merged.flags & GAP), bool(merged.flags & AFRESH)
        newer.merged += older.merged
        newer.skipped += older.skipped
