"""plif_collect and plif_evt3_collect, which lie beneath libplif's frames, for tests that call them with all kinds of sizes."""

from __future__ import annotations

import ctypes as c
from functools import cache
from typing import Any

import numpy as np

from runtime.native import interface
from runtime.native.rules import make_view_tables


class OpenFrame(c.Structure):
    """Field by field the structure in rules/collect.h, which says what each means."""

    _fields_ = tuple(
        (name, c.c_int64)
        for name in (
            *("width", "height", "cells", "gap_us", "span_us", "most_used", "most_seen"),
            *("has_clock", "clock_us", "open_us", "used", "seen"),
            *("taken", "filtered", "late", "invalid", "first_us", "last_us", "not_shown"),
        )
    )


@cache
def library() -> c.CDLL:
    """The native library; what these two functions refuse raises ValueError."""
    found = interface.library()
    found.plif_collect.errcheck = found.plif_evt3_collect.errcheck = interface.check_status
    return found


def collect(
    events: np.ndarray, frame: OpenFrame, counts: Any, framing: str, shape: Any, sensor: tuple[int, int]
) -> int:
    """Events [N] into the open frame, where that framing has them land; why it stopped."""
    of_x, of_y, of_p = make_view_tables(framing, shape, sensor, 0)
    tables = (of_x.ctypes.data, len(of_x), of_y.ctypes.data, len(of_y), of_p.ctypes.data)
    at = c.byref(c.c_int64())
    return int(library().plif_collect(events.ctypes.data, events.nbytes, at, c.byref(frame), *tables, None, counts))
