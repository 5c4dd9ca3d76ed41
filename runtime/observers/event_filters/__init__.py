"""Filters between a source and the framer: `--filter hot,refractory:1ms,background:5ms,roi:square,down:2,flip:x`.

They work in the order in which they are written, each on the output of the one before, in the sensor's coordinates as stored:

    hot[:2s | :FILE]       pixels that fire far more than their neighbours are masked (learnt in the first 2 s, or a list)
    refractory:1ms         a pixel is ignored for this long after an event of it that passed
    background:5ms         an event without an event of a neighbouring pixel within this time is noise
    roi:X0:Y0:X1:Y1        only x in [X0, X1) and y in [Y0, Y1), which become the picture; roi:square: the largest in the middle
    down:K                 K x K pixels become one: x // K, y // K; all events stay
    flip:x, flip:y         mirrored: x -> W-1-x, y -> H-1-y
    rotate:90|180|270      turned clockwise
    swap                   ON becomes OFF

The first three remember something of every pixel and refuse sensors of more than 4096 x 4096. How the events are cut into
packets never changes what passes. These are libplif's (runtime/native/rules/frames/filter.h).

A filter of your own, in Python, comes before them. Enter what makes one, and its name can stand in front of theirs:

    FILTERS["on"] = OnlyOn              # OnlyOn(argument, sensor): what follows the colon, or None, and (width, height)
    model.stream(source, filters="on,background:5ms")
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import EVENT_DTYPE, make_events
from runtime.core.events.framer import PASSED
from runtime.native.interface import error, library

# Events [M] that pass, in their order, and which they are of the N that came: bool [N], None for all of them.
Selection = tuple[np.ndarray, np.ndarray | None]


class Filter(Protocol):
    """A filter of your own. What it remembers lasts from packet to packet, and is not in the file of --state.

    sensor  (width, height) of what comes out
    notes   what is to be said of the stream, each a line
    """

    sensor: tuple[int, int]
    notes: list[str]

    def __call__(self, events: np.ndarray) -> Selection:
        """Events [N] in file order, N > 0, inside the sensor -> those that pass. The input is not changed."""


FILTERS: dict[str, Callable[[str | None, tuple[int, int]], Filter]] = {}


class Filters:
    """A chain of filters for events of one sensor. `sensor` is the (width, height) of what comes out.

    PlifError, in one line, for a text that says no filters, or not of such a sensor.
    """

    _at: c.c_void_p | None = None

    def __init__(self, text: str, sensor: tuple[int, int]) -> None:
        self._library, self._at, self._first_sensor = library(), c.c_void_p(), sensor
        self.own: list[Filter] = []
        parts = text.split(",")
        while parts and (name := _name(parts[0])) in FILTERS:
            _, colon, argument = parts.pop(0).strip().partition(":")
            self.own.append(FILTERS[name](argument if colon else None, sensor))
            sensor = self.own[-1].sensor
        if late := [name for name in map(_name, parts) if name in FILTERS]:
            raise PlifError(f"--filter {text}: '{late[0]}' is a filter of your own; expected before those of plif")
        self.sensor = sensor
        if parts:
            width, height = c.c_int(), c.c_int()
            if self._library.plif_filters_make(_line(",".join(parts)), *sensor, c.byref(self._at)):
                raise error()
            self._library.plif_filters_sensor(self._at, c.byref(width), c.byref(height))
            self.sensor = width.value, height.value

    def __call__(self, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Events [N] in file order -> [N] where they are now, and what became of each: uint8 [N], PASSED, 0 for those that are
        filtered, 2 for those outside the sensor."""
        if events.dtype != EVENT_DTYPE:
            events = make_events(*(events[name] for name in "txyp"))
        moved = np.ascontiguousarray(events).view(np.uint8).copy().view(EVENT_DTYPE)  # NumPy copies records slowly
        fate = np.full(len(moved), PASSED, np.uint8)
        if self.own:
            width, height = self._first_sensor
            fate[(moved["x"] >= width) | (moved["y"] >= height)] = 2
        for each in self.own:
            left = np.flatnonzero(fate == PASSED)
            if len(left):
                passed, which = each(moved[left])
                if which is not None:
                    fate[left[~which]] = 0
                    left = left[which]
                moved[left] = passed
        if self._at:
            self._library.plif_filters_apply(self._at, moved.ctypes.data, len(moved), fate.ctypes.data)
        return moved, fate

    @property
    def notes(self) -> list[str]:
        notes, text = [note for each in self.own for note in each.notes], c.create_string_buffer(300)
        first = len(notes)
        while self._at and self._library.plif_filters_note(self._at, len(notes) - first, text, len(text)):
            notes.append(text.value.decode())
        return notes

    @property
    def kept(self) -> np.ndarray:
        """uint8 [bytes], all that libplif's filters remember. Raises PlifError where it is set to what no such chain has."""
        found = np.empty(self._library.plif_filters_bytes(self._at) if self._at else 0, np.uint8)
        if len(found):
            self._library.plif_filters_keep(self._at, found.ctypes.data)
        return found

    @kept.setter
    def kept(self, values: np.ndarray) -> None:
        """As it was given, uint8 [bytes]."""
        size = self._library.plif_filters_bytes(self._at) if self._at else 0
        if len(values) != size:
            raise PlifError(f"filters: {len(values)} bytes of what they remember; expected {size}")
        whole = np.ascontiguousarray(values, np.uint8)
        if size and self._library.plif_filters_restore(self._at, whole.ctypes.data):
            raise error()

    def __del__(self) -> None:
        if self._at:
            self._library.plif_filters_free(self._at)


def _name(part: str) -> str:
    return part.strip().partition(":")[0]


def _line(text: str) -> bytes:
    """For C, to which a text ends at a zero; names of files may be of any bytes."""
    text = text.replace("\0", "\ufffd")
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
