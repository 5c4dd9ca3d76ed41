"""Events into the open frame: one primitive, in the native library and in NumPy, with the same results.

    take = begin(events, frame)     # events [N] of EVENT_DTYPE, frame an OpenFrame
    why = take(counts)              # adds events to counts until the frame ends: ALL_TAKEN, BEYOND, GAP or FULL

counts is a ctypes array of float32 [C*H*W], or None when no frame is open any more: then every event inside the sensor is
filtered. The framer has the rules of when frames begin and what they are; this file goes through the events. Where the
native library is built it does so in one pass, from the packet as it came to the counts, and nothing is copied on the way:
`take` is then the library's own function with its first arguments bound. It can take the words of an EVT 3.0 file in the same
way, and no events are written at all. OpenFrame (runtime/native/packets.py) says what the
fields mean.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from runtime.events.view import View
from runtime.native import packets
from runtime.native.packets import Evt3Reader, OpenFrame

ALL_TAKEN, BEYOND, GAP, FULL = range(4)
NO_LIMIT = (1 << 63) - 1
LARGEST_COUNT = np.float32(1 << 24)  # adding one to it in float32 changes nothing
FIRST_WINDOW = 256

TakeEvents = Callable[[Any], int]


def collectors(view: View) -> tuple[NativeCollector | NumpyCollector, NumpyCollector]:
    """(The collector for packets of EVENT_DTYPE, the one for packets of any other dtype)."""
    plain = NumpyCollector(view)
    library = packets.library()
    return (plain if library is None else NativeCollector(view, library)), plain


class NativeCollector:
    """`begin` in C, for packets of EVENT_DTYPE and for words."""

    def __init__(self, view: View, library: ctypes.CDLL) -> None:
        tables = [np.ascontiguousarray(table, np.int64) for table in (view.of_x, view.of_y, view.of_p)]
        x, y, p = (table.ctypes.data_as(ctypes.c_void_p) for table in tables)  # each keeps its table alive
        self._library, self._views = library, (x, len(tables[0]), y, len(tables[1]), p)

    def begin(self, events: np.ndarray, frame: OpenFrame) -> TakeEvents:
        """As at the top of this file."""
        whole = np.ascontiguousarray(events)  # a packet is contiguous already, so nothing is copied
        first, at = whole.ctypes.data_as(ctypes.c_void_p), ctypes.byref(ctypes.c_int64())
        return partial(self._library.plif_collect, first, whole.nbytes, at, ctypes.byref(frame), *self._views)

    def begin_words(self, words: np.ndarray, reader: Evt3Reader, frame: OpenFrame) -> TakeEvents:
        """The same for words of EVT 3.0, uint16 [N]; the reader goes with all words of a file."""
        whole = np.require(words, "<u2", ["C", "A"])  # a chunk of a file has this form already and is not copied
        first, at = whole.ctypes.data_as(ctypes.c_void_p), ctypes.byref(ctypes.c_int64())
        of_frame = ctypes.byref(frame)
        take = self._library.plif_evt3_collect
        return partial(take, first, whole.nbytes, at, ctypes.byref(reader), of_frame, *self._views)


class NumpyCollector:
    """`begin` in NumPy, for packets of any dtype with the fields of EVENT_DTYPE."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._window = FIRST_WINDOW

    def begin(self, events: np.ndarray, frame: OpenFrame) -> TakeEvents:
        """As at the top of this file; events [N] of any dtype with the fields of EVENT_DTYPE."""
        inside = self._view.inside(events)
        if not inside.all():
            frame.invalid += int(len(inside) - inside.sum())
            events = events[inside]
        return self.begin_at(events["t"].astype(np.int64), self._view.cells(events), frame)

    def begin_at(self, t_us: np.ndarray, cells: np.ndarray, frame: OpenFrame) -> TakeEvents:
        """Events by their times and the cells in which they land, both int64 [N]; negative cells are nowhere."""
        self._t, self._cells = t_us, cells
        self._at = 0
        return partial(self._take, frame)

    def _take(self, frame: OpenFrame, buffer: Any) -> int:
        t, left = self._t, len(self._t) - self._at
        if buffer is None:
            frame.filtered += left
            self._at = len(t)
            return ALL_TAKEN
        counts = np.frombuffer(buffer, np.float32)
        if frame.gap_us and not frame.has_clock and left:
            frame.has_clock = 1
            frame.clock_us = frame.open_us = int(t[self._at])
        size = self._window if frame.gap_us else left
        began = self._at
        while self._at < len(t):
            size = min(size, frame.most_used - frame.used, frame.most_seen - frame.seen)
            piece = slice(self._at, self._at + size)
            taken, why = self._until(t[piece], frame)
            self._add(slice(self._at, self._at + taken), frame, counts)
            self._at += taken
            if why != ALL_TAKEN:
                self._window = max(FIRST_WINDOW, self._at - began)  # the next frame is likely to be as long
                return why
            if frame.used >= frame.most_used or frame.seen >= frame.most_seen:
                return FULL
            size *= 2  # grows, so that many short frames do not make the search quadratic
        return ALL_TAKEN

    def _until(self, t: np.ndarray, frame: OpenFrame) -> tuple[int, int]:
        """How many of these events come before the frame ends, and why it ends; moves the clock."""
        if not frame.gap_us:
            return len(t), ALL_TAKEN
        clock = np.maximum.accumulate(np.concatenate([[frame.clock_us], t]))
        before = clock[:-1]
        gap = _apart(t, before) > np.uint64(frame.gap_us)
        beyond = (t > frame.open_us) & (_apart(t, np.int64(frame.open_us)) >= np.uint64(frame.span_us))
        ends = gap | beyond
        if not ends.any():
            frame.clock_us = int(clock[-1])
            return len(t), ALL_TAKEN
        first = int(ends.argmax())
        if gap[first]:
            frame.clock_us = int(before[first])
            return first, GAP
        frame.clock_us = int(clock[first + 1])
        frame.next_us = int(t[first])
        return first, BEYOND

    def _add(self, piece: slice, frame: OpenFrame, counts: np.ndarray) -> None:
        t, cells = self._t[piece], self._cells[piece]
        if not len(t):
            return
        if not frame.taken:
            frame.first_us = int(t[0])
        frame.taken += len(t)
        frame.last_us = int(t[-1])
        if frame.gap_us:
            late = t < frame.open_us
            if late.any():
                frame.late += int(late.sum())
                cells = cells[~late]
        frame.seen += len(cells)
        kept = cells[cells >= 0] if len(cells) and cells.min() < 0 else cells
        frame.filtered += len(cells) - len(kept)
        frame.used += len(kept)
        if len(kept) * 16 > len(counts):
            np.minimum(counts + np.bincount(kept, minlength=len(counts)), LARGEST_COUNT, out=counts, casting="unsafe")
        elif len(kept):
            np.add.at(counts, kept, np.float32(1))


def _apart(a: np.ndarray, b: np.ndarray | np.int64) -> np.ndarray:
    """|a - b| as uint64, which int64 need not hold."""
    with np.errstate(over="ignore"):
        return (np.maximum(a, b) - np.minimum(a, b)).view(np.uint64)
