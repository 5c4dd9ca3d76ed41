"""Events into the open frame: one primitive, libplif's (rules/collect.c), from a packet as it lies to counts per pixel.

    take = collector.begin(events, frame)     # events [N] of EVENT_DTYPE, frame an OpenFrame
    why = take(counts)                        # adds events to counts until the frame ends: ALL_TAKEN, BEYOND, GAP or FULL

counts is a ctypes array of float32 [C*H*W], or None when no frame is open any more: then every event inside the sensor is
filtered. The framer has the rules of when frames begin and what they are; this goes through the events in one pass, and nothing
is copied on the way: `take` is the library's own function with its first arguments bound. It can take the words of an EVT 3.0
file in the same way, and no events are written at all. OpenFrame (runtime/native/packets.py) says what the fields mean.
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

TakeEvents = Callable[[Any], int]


class Collector:
    """`begin`, for one view."""

    def __init__(self, view: View) -> None:
        tables = [np.ascontiguousarray(table, np.int64) for table in (view.of_x, view.of_y, view.of_p)]
        x, y, p = (table.ctypes.data_as(ctypes.c_void_p) for table in tables)  # each keeps its table alive
        self._library, self._views = packets.library(), (x, len(tables[0]), y, len(tables[1]), p)

    def begin(self, events: np.ndarray, frame: OpenFrame, passed: np.ndarray | None = None) -> TakeEvents:
        """As at the top of this file. passed  bool [N]: which events a filter let through; time goes on with the others."""
        whole = np.ascontiguousarray(events)  # a packet is contiguous already, so nothing is copied
        first, at = whole.ctypes.data_as(ctypes.c_void_p), ctypes.byref(ctypes.c_int64())
        which = None if passed is None else np.ascontiguousarray(passed, bool).ctypes.data_as(ctypes.c_void_p)
        return partial(self._library.plif_collect, first, whole.nbytes, at, ctypes.byref(frame), *self._views, which)

    def begin_words(self, words: np.ndarray, reader: Evt3Reader, frame: OpenFrame) -> TakeEvents:
        """The same for words of EVT 3.0, uint16 [N]; the reader goes with all words of a file."""
        whole = np.require(words, "<u2", ["C", "A"])  # a chunk of a file has this form already and is not copied
        first, at = whole.ctypes.data_as(ctypes.c_void_p), ctypes.byref(ctypes.c_int64())
        of_frame = ctypes.byref(frame)
        take = self._library.plif_evt3_collect
        return partial(take, first, whole.nbytes, at, ctypes.byref(reader), of_frame, *self._views)
