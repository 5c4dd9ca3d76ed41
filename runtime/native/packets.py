"""The native library that decodes and bins events (packets.c): opens it, and its C structures.

Optional like the event engine's kernels: where it was not built, NumPy does the same work with the same results.
"""

from __future__ import annotations

import ctypes as c
import sys
from functools import cache
from pathlib import Path


class Evt3State(c.Structure):
    """What the words of an EVT 3.0 file so far have set; -1 is "not yet". Field by field that of packets.c."""

    _fields_ = tuple(
        (name, c.c_int64)
        for name in (
            *("high", "low", "row", "base", "base_on", "raw_high", "offset"),
            *("untimed", "unrowed", "unbased", "past_end", "unknown"),
        )
    )


class OpenFrame(c.Structure):
    """The frame that events are being added to. Field by field that of packets.c.

    width, height          of the sensor; cells of the frame
    gap_us, span_us        what is a gap, how long a frame lasts; gap_us 0: the framing follows no clock
    most_used, most_seen   the frame is full at so many events counted in it, or so many that belong to it
    has_clock, clock_us    the running maximum of t since the last gap; open_us is where the frame begins
    used, seen             events counted in the frame; those with the ones cropped away
    taken                  of one call: events that belong to the frame or are late; first_us and last_us are theirs
    filtered, late, invalid  of one call
    next_us                time of the event beyond the frame
    """

    _fields_ = tuple(
        (name, c.c_int64)
        for name in (
            *("width", "height", "cells", "gap_us", "span_us", "most_used", "most_seen"),
            *("has_clock", "clock_us", "open_us", "used", "seen"),
            *("taken", "filtered", "late", "invalid", "first_us", "last_us", "next_us"),
        )
    )


@cache
def library() -> c.CDLL | None:
    """The library, or None where it was not built (or the machine is big-endian, which it is not written for)."""
    if sys.byteorder != "little":
        return None
    for path in sorted(Path(__file__).parent.glob("_packets*.so")):
        try:
            found = c.CDLL(str(path))
            found.plif_packets_layout.restype = c.c_int
            layout = found.plif_packets_layout()
        except (OSError, AttributeError):
            continue  # built for another machine, or not ours
        if layout != c.sizeof(Evt3State) * 1000 + c.sizeof(OpenFrame):
            continue
        found.plif_evt3_most.restype = c.c_int64
        found.plif_evt3_most.argtypes = [c.c_void_p, c.c_int64]
        found.plif_evt3.restype = c.c_int64
        found.plif_evt3.argtypes = [c.c_void_p, c.c_int64, c.c_void_p, c.c_void_p, c.c_int64]
        found.plif_collect.restype = c.c_int64
        found.plif_collect.argtypes = [c.c_void_p, c.c_int64, *[c.c_void_p] * 6]
        found.plif_all_usable.restype = c.c_int
        found.plif_all_usable.argtypes = [c.c_void_p, *[c.c_int64] * 4]
        return found
    return None
