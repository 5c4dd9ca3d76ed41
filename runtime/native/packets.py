"""The native library that decodes, filters and bins events: opens it, and mirrors its C structures."""

from __future__ import annotations

import ctypes as c
import sys
from functools import cache
from typing import Any

from runtime.base.errors import PlifError
from runtime.native import find_library, missing


class Decoding(c.Structure):
    """What the words of a file have set so far, and what of them could not be used. Field by field the structure in
    formats/decoding.h."""

    _fields_ = tuple(
        (name, c.c_int64)
        for name in (
            *("last", "offset", "high", "low", "row", "base", "base_on", "overflow", "believed"),
            *("untimed", "unrowed", "unbased", "past_end", "no_pixel", "marked", "unknown"),
        )
    )

    @classmethod
    def new(cls) -> Decoding:
        """Nothing is set yet."""
        return cls(last=-1, high=-1, row=-1, base=-1)


class Packet(c.Structure):
    """What the header of a packet of AEDAT 3.1 says. Field by field the structure in formats/formats.h."""

    _fields_ = tuple((name, c.c_int64) for name in ("kind", "event_bytes", "overflow", "capacity", "number", "valid"))


class Evt3Reader(c.Structure):
    """Words of an EVT 3.0 file that go straight into frames. Field by field the structure in formats/evt3.h.

    events, outside  of the words so far: inside the sensor, and outside it
    """

    _fields_ = (
        ("decoder", Decoding),
        *((name, c.c_int64) for name in ("events", "outside", "held", "next")),
        ("hold", c.c_uint8 * (12 * 13)),
    )


@cache
def library() -> c.CDLL:
    """The library. Raises PlifError where it is missing, and on a big-endian machine, which it is not written for."""
    if sys.byteorder != "little":
        raise PlifError("plif reads events on little-endian machines only")
    sizes = c.sizeof(Evt3Reader) * 1000 + c.sizeof(Packet)
    found = find_library("_event*.so", "plif_packets_layout", sizes)
    if found is None:
        return missing()
    for name in ("plif_decode_most", "plif_decode"):
        getattr(found, name).errcheck = _not_wrong
    return found


def _not_wrong(result: Any, function: Any, arguments: Any) -> Any:
    """What the native code refuses is a mistake of the code that called it; no file can bring it about."""
    if result < 0:
        raise ValueError(f"{function.__name__}: sizes that do not fit each other")
    return result
