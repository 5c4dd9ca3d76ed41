"""Event filters between a source and the framer: `--filter hot,refractory:1ms,background:5ms,roi:square,down:2,flip:x`.

They run in the written order, each on the output of the one before, in the sensor's coordinates as stored:

    hot[:2s | :FILE]       masks pixels that fire far more than their neighbours (learnt in the first 2 s, or a list)
    refractory:1ms         a pixel is ignored for this long after one of its events passed
    background:5ms         an event without an event of a neighbouring pixel within this time is noise
    roi:X0:Y0:X1:Y1        only x in [X0, X1) and y in [Y0, Y1), which become the picture; roi:square: the largest in
                           the middle
    down:K                 K x K pixels become one: x // K, y // K; all events stay
    flip:x, flip:y         mirrored: x -> W-1-x, y -> H-1-y
    rotate:90|180|270      turned clockwise
    swap                   ON becomes OFF

The first three have a state for each pixel and refuse sensors of more than 4096 x 4096. The division of events into
packets never changes the result. The filters are those of libplif (runtime/native/rules/frames/filter.h).

A custom filter, in Python, comes before them. Register its factory, and its name can stand in front of theirs:

    FILTERS["on"] = OnlyOn              # OnlyOn(argument, sensor): the text after the colon, or None, and (width,
                                        height)
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
from runtime.native.interface import last_error, library

# Events [M] that pass, in order, and a mask of them among the N input events: bool [N], None for all.
Selection = tuple[np.ndarray, np.ndarray | None]


class Filter(Protocol):
    """The interface of a user's own event filter: called with events, it returns those that pass.

    Its state lasts from packet to packet, and is not in the file of --state.

    sensor    (width, height) of the output
    notes     notes about the stream, each a line
    """

    sensor: tuple[int, int]
    notes: list[str]

    def __call__(self, events: np.ndarray) -> Selection:
        """Filter events [N] in file order, N > 0, inside the sensor; return those that pass and a mask of them.

        The input is not changed.
        """


FILTERS: dict[str, Callable[[str | None, tuple[int, int]], Filter]] = {}


class Filters:
    """A chain of event filters for the events of one sensor; `sensor` is the (width, height) after the last filter.

    Raises PlifError, in one line, for an invalid text, or filters that do not fit the sensor.
    """

    _handle: c.c_void_p | None = None

    def __init__(self, text: str, sensor: tuple[int, int]) -> None:
        self._library, self._handle, self._first_sensor = library(), c.c_void_p(), sensor
        self.custom: list[Filter] = []
        parts = text.split(",")
        while parts and (name := _filter_name(parts[0])) in FILTERS:
            _, colon, argument = parts.pop(0).strip().partition(":")
            self.custom.append(FILTERS[name](argument if colon else None, sensor))
            sensor = self.custom[-1].sensor
        if late := [name for name in map(_filter_name, parts) if name in FILTERS]:
            raise PlifError(f"--filter {text}: '{late[0]}' is a filter of your own; expected before those of plif")
        self.sensor = sensor
        if parts:
            width, height = c.c_int(), c.c_int()
            if self._library.plif_filters_make(_encode_text(",".join(parts)), *sensor, c.byref(self._handle)):
                raise last_error()
            self._library.plif_filters_sensor(self._handle, c.byref(width), c.byref(height))
            self.sensor = width.value, height.value

    def __call__(self, events: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Apply all filters to events [N] in file order; return moved copies of all of them [N], and outcomes uint8 [N].

        An outcome is PASSED, 0 for a filtered event, or 2 for an event outside the sensor.
        """
        if events.dtype != EVENT_DTYPE:
            events = make_events(*(events[name] for name in "txyp"))
        moved = np.ascontiguousarray(events).view(np.uint8).copy().view(EVENT_DTYPE)  # NumPy copies records slowly
        outcomes = np.full(len(moved), PASSED, np.uint8)
        if self.custom:
            width, height = self._first_sensor
            outcomes[(moved["x"] >= width) | (moved["y"] >= height)] = 2
        for custom_filter in self.custom:
            remaining = np.flatnonzero(outcomes == PASSED)
            if len(remaining):
                passed, selected = custom_filter(moved[remaining])
                if selected is not None:
                    outcomes[remaining[~selected]] = 0
                    remaining = remaining[selected]
                moved[remaining] = passed
        if self._handle:
            self._library.plif_filters_apply(self._handle, moved.ctypes.data, len(moved), outcomes.ctypes.data)
        return moved, outcomes

    @property
    def notes(self) -> list[str]:
        notes, text = (
            [note for custom_filter in self.custom for note in custom_filter.notes],
            c.create_string_buffer(300),
        )
        first = len(notes)
        while self._handle and self._library.plif_filters_note(self._handle, len(notes) - first, text, len(text)):
            notes.append(text.value.decode())
        return notes

    @property
    def snapshot(self) -> np.ndarray:
        """The saved state of libplif's event filters, uint8 [bytes].

        Raises PlifError if it is set to a state of another chain.
        """
        state = np.empty(self._library.plif_filters_bytes(self._handle) if self._handle else 0, np.uint8)
        if len(state):
            self._library.plif_filters_keep(self._handle, state.ctypes.data)
        return state

    @snapshot.setter
    def snapshot(self, values: np.ndarray) -> None:
        """Restore the event filters to a saved state, uint8 [bytes]."""
        size = self._library.plif_filters_bytes(self._handle) if self._handle else 0
        if len(values) != size:
            raise PlifError(f"filters: {len(values)} bytes of what they remember; expected {size}")
        state = np.ascontiguousarray(values, np.uint8)
        if size and self._library.plif_filters_restore(self._handle, state.ctypes.data):
            raise last_error()

    def __del__(self) -> None:
        if self._handle:
            self._library.plif_filters_free(self._handle)


def _filter_name(part: str) -> str:
    return part.strip().partition(":")[0]


def _encode_text(text: str) -> bytes:
    """Encode the text of --filter for C, without zero bytes; file names may contain any bytes."""
    text = text.replace("\0", "\ufffd")
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")
