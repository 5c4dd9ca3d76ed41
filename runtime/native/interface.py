"""The structures of plif.h and of libplif's internals for Python, the library, and a session of it as an object."""

from __future__ import annotations

import ctypes as c
from functools import cache
from typing import Any

import numpy as np

from runtime import native
from runtime.core.base.errors import PlifError

GAP, AFRESH, LOST, FOLLOWED = 1, 2, 4, 8
IDLE = -2


class PlifNetwork(c.Structure):
    """The C structure plif_network: a network's input size, classes, voters and T."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int) for name in ("classes", "voters", "T")),
        ("class_names", c.POINTER(c.c_char_p)),
        *((name, c.c_int) for name in ("channels", "height", "width")),
    )


class PlifOptions(c.Structure):
    """The C structure plif_options: the options of a native session, such as framing, decide and reset."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_char_p) for name in ("framing", "decide", "reset")),
        *((name, c.c_int) for name in ("sensor_width", "sensor_height", "upright", "threads")),
        *((name, c.c_int64) for name in ("total_events", "first_us", "last_us")),
        ("filter", c.c_char_p),
    )


class PlifDecision(c.Structure):
    """The C structure plif_decision (a decision about one step), with its size as of PLIF_DECISION."""

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
    """The C structure Framing of framing.h (how events become frames); 0 means that a number is not given."""

    _fields_ = (
        ("kind", c.c_int),
        *((name, c.c_int64) for name in ("T", "duration_us", "every_us", "n", "max_us")),
        *((name, c.c_int) for name in ("pad", "value", "polarity", "orientation", "resize", "shape", "follow")),
    )


class PlifPacket(c.Structure):
    """The C structure plif_packet: a packet of events for a native session."""

    _fields_ = (
        ("size", c.c_size_t),
        ("events", c.c_void_p),
        *((name, c.c_size_t) for name in ("count", "taken")),
        ("passed", c.c_void_p),
        ("came_s", c.c_double),
    )


class PlifInput(c.Structure):
    """The C structure plif_input: one frame as network input, with its time span and event count."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_void_p) for name in ("x", "newest")),
        *((name, c.c_int64) for name in ("start_us", "end_us", "events")),
        ("flags", c.c_int),
        ("came_s", c.c_double),
        ("window", c.c_double * 4),
    )


class PlifTime(c.Structure):
    """The C structure plif_time (a framer's clock and open frame), with its size as of PLIF_TIME."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int64) for name in ("clock_us", "open_us", "waiting", "gaps")),
        *((name, c.c_int) for name in ("follows_clock", "is_known")),
    )

    def __init__(self) -> None:
        super().__init__(c.sizeof(PlifTime))


class PlifAccount(c.Structure):
    """The C structure plif_account (event counts by outcome), with its size as of PLIF_ACCOUNT."""

    _fields_ = (
        ("size", c.c_size_t),
        *((name, c.c_int64) for name in ("events_in", "used", "filtered", "late", "invalid", "not_shown")),
    )

    def __init__(self) -> None:
        super().__init__(c.sizeof(PlifAccount))


class Decoding(c.Structure):
    """The C state of a decoder of fixed-size words, and its counts of words that could not be used.

    Its fields are those of the structure in formats/decoding.h.
    """

    _fields_ = tuple(
        (name, c.c_int64)
        for name in (
            *("last", "offset", "high", "low", "row", "base", "base_on", "overflow", "believed"),
            *("untimed", "unrowed", "unbased", "past_end", "no_pixel", "marked", "unknown"),
        )
    )

    @classmethod
    def new(cls) -> Decoding:
        """Create the initial state of a decoder of fixed-size words."""
        return cls(last=-1, high=-1, row=-1, base=-1)


class PacketHeader(c.Structure):
    """The header of a packet of AEDAT 3.1.

    Its fields are those of the structure in formats/formats.h.
    """

    _fields_ = tuple((name, c.c_int64) for name in ("kind", "event_bytes", "overflow", "capacity", "number", "valid"))


class Evt3Reader(c.Structure):
    """A reader that turns the words of an EVT 3.0 file into frames without an event array.

    Its fields are those of the structure in formats/evt3.h. events, outside: events so far, inside and outside the
    sensor.
    """

    _fields_ = (
        ("decoder", Decoding),
        *((name, c.c_int64) for name in ("events", "outside", "held", "next")),
        ("hold", c.c_uint8 * (12 * 13)),
    )


@cache
def library() -> c.CDLL:
    """Return the native library; refuse to continue where it is missing."""
    native_library = native.library()
    if native_library.plif_packets_layout() != c.sizeof(Evt3Reader) * 1000 + c.sizeof(PacketHeader):
        native.refuse_missing()
    native_library.plif_decode_most.errcheck = native_library.plif_decode.errcheck = check_status
    return native_library


def check_status(status: Any, function: Any, arguments: object) -> Any:
    """Check the result of a native function; refuse a negative one: a mistake of the caller, not of a file."""
    if status < 0:
        raise ValueError(f"{function.__name__}: sizes that do not fit each other")
    return status


def last_error() -> PlifError:
    """Return the error of the last native call that failed in this thread."""
    return PlifError(library().plif_error_text().decode("utf-8", "replace"))


def encode_text(text: str) -> bytes:
    """Encode a text for C, where it ends at its first zero byte."""
    return str(text).replace("\0", "\ufffd").encode("utf-8", "replace")


class NativeSession:
    """A native session (plif_session_for) of libplif, which is closed together with this object.

    Raise PlifError for options that are not understood, and where the native library is missing.
    """

    _handle: int | None = None

    def __init__(self, network: PlifNetwork, **options: object) -> None:
        """Open a native session of libplif; the options are the fields of plif_options, texts as str."""
        self._library = library()
        encoded = {name: encode_text(value) if isinstance(value, str) else value for name, value in options.items()}
        native_options = PlifOptions(c.sizeof(PlifOptions), threads=1, **{"total_events": -1, **encoded})
        self._handle = self._library.plif_session_for(c.byref(network), c.byref(native_options))
        if not self._handle:
            raise last_error()

    @property
    def saved_state(self) -> np.ndarray:
        """The complete state of a native session, libplif's snapshot: uint8 [bytes].

        Setting it to the state of another kind of session raises PlifError.
        """
        state = np.empty(self._library.plif_snapshot_size(self._handle), np.uint8)
        self._library.plif_snapshot(self._handle, state.ctypes.data, len(state))
        return state

    @saved_state.setter
    def saved_state(self, values: np.ndarray) -> None:
        """Restore a native session from its saved state, uint8 [bytes]."""
        state = np.ascontiguousarray(values, np.uint8)
        if self._library.plif_restore(self._handle, state.ctypes.data, len(state)):
            raise last_error()

    def __del__(self) -> None:
        if self._handle:
            self._library.plif_session_free(self._handle)
