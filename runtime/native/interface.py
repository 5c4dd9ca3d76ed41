"""plif.h for Python: its structures and those beneath it, the library that has them, and a session of it as an object."""

from __future__ import annotations

import ctypes as c
from functools import cache
from typing import Any

import numpy as np

from runtime import native
from runtime.core.base.errors import PlifError

GAP, AFRESH, LOST = 1, 2, 4
IDLE = -2


class PlifNetwork(c.Structure):
    """plif_network."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int) for name in ("classes", "voters", "T")),
        ("class_names", c.POINTER(c.c_char_p)),
        *((name, c.c_int) for name in ("channels", "height", "width")),
    )


class PlifOptions(c.Structure):
    """plif_options."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_char_p) for name in ("framing", "decide", "reset")),
        *((name, c.c_int) for name in ("sensor_width", "sensor_height", "upright", "threads")),
        *((name, c.c_int64) for name in ("total_events", "first_us", "last_us")),
        ("filter", c.c_char_p),
    )


class PlifDecision(c.Structure):
    """plif_decision, with its size as of PLIF_DECISION."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int64) for name in ("t_us", "step", "events")),
        *((name, c.c_int32) for name in ("index", "discontinuity")),
        ("score", c.c_double),
        ("votes", c.POINTER(c.c_double)),
        *((name, c.c_int64) for name in ("is_final", "row", "soft")),
    )

    def __init__(self) -> None:
        super().__init__(c.sizeof(PlifDecision))


class PlifFraming(c.Structure):
    """Framing of framing.h; 0 where a number is not given."""

    _fields_ = (
        ("kind", c.c_int),
        *((name, c.c_int64) for name in ("T", "duration_us", "every_us", "n", "max_us")),
        *((name, c.c_int) for name in ("pad", "value", "polarity", "orientation", "resize", "shape")),
    )


class PlifPacket(c.Structure):
    """plif_packet."""

    _fields_ = (
        ("size", c.c_size_t),
        ("events", c.c_void_p),
        *((name, c.c_size_t) for name in ("count", "taken")),
        ("passed", c.c_void_p),
        ("came_s", c.c_double),
    )


class PlifInput(c.Structure):
    """plif_input."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_void_p) for name in ("x", "newest")),
        *((name, c.c_int64) for name in ("start_us", "end_us", "events")),
        ("flags", c.c_int),
        ("came_s", c.c_double),
    )


class PlifTime(c.Structure):
    """plif_time, with its size as of PLIF_TIME."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int64) for name in ("clock_us", "open_us", "waiting", "gaps")),
        *((name, c.c_int) for name in ("follows_clock", "is_known")),
    )

    def __init__(self) -> None:
        super().__init__(c.sizeof(PlifTime))


class PlifAccount(c.Structure):
    """plif_account, with its size as of PLIF_ACCOUNT."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int64) for name in ("events_in", "used", "filtered", "late", "invalid", "not_shown")),
    )

    def __init__(self) -> None:
        super().__init__(c.sizeof(PlifAccount))


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


class PacketHeader(c.Structure):
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
    """The native library. Raises PlifError where it is missing."""
    found = native.library()
    if found.plif_packets_layout() != c.sizeof(Evt3Reader) * 1000 + c.sizeof(PacketHeader):
        native.missing()
    found.plif_decode_most.errcheck = found.plif_decode.errcheck = not_wrong
    return found


def not_wrong(result: Any, function: Any, arguments: object) -> Any:
    """What the native code refuses is a mistake of the code that called it; no file can bring it about."""
    if result < 0:
        raise ValueError(f"{function.__name__}: sizes that do not fit each other")
    return result


def error() -> PlifError:
    """What was wrong with the last call in this thread that failed."""
    return PlifError(library().plif_error_text().decode("utf-8", "replace"))


def line(text: str) -> bytes:
    """For C, to which a text ends at a zero."""
    return str(text).replace("\0", "\ufffd").encode("utf-8", "replace")


class NativeSession:
    """A session of plif_session_for, which ends with this object.

    Raises PlifError for options that are not understood, and where the native library is missing.
    """

    _at: int | None = None

    def __init__(self, network: PlifNetwork, **options: object) -> None:
        """options: the fields of plif_options; texts as str."""
        self._library = library()
        given = {name: line(value) if isinstance(value, str) else value for name, value in options.items()}
        asked = PlifOptions(c.sizeof(PlifOptions), threads=1, **{"total_events": -1, **given})
        self._at = self._library.plif_session_for(c.byref(network), c.byref(asked))
        if not self._at:
            raise error()

    @property
    def kept(self) -> np.ndarray:
        """uint8 [bytes], all that the session remembers: libplif's snapshot. Raises PlifError where it is set to another's."""
        found = np.empty(self._library.plif_snapshot_size(self._at), np.uint8)
        self._library.plif_snapshot(self._at, found.ctypes.data, len(found))
        return found

    @kept.setter
    def kept(self, values: np.ndarray) -> None:
        """As it was given, uint8 [bytes]."""
        whole = np.ascontiguousarray(values, np.uint8)
        if self._library.plif_restore(self._at, whole.ctypes.data, len(whole)):
            raise error()

    def __del__(self) -> None:
        if self._at:
            self._library.plif_session_free(self._at)
