"""Events as one structured array, and the hash that identifies a recording.

t   int64   microseconds, in file order (not necessarily sorted)
x   uint16  column, y uint16 row, as stored in the file
p   bool    polarity, True = ON (the pixel became brighter)
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

from runtime.core.base.errors import PlifError

EVENT_DTYPE = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?")])

# A time beyond this (73 thousand years) is corrupt. Below it, the difference of two times fits int64.
T_LIMIT_US = 1 << 61

# Sensors by growing area: a recording that does not name its sensor gets the smallest that holds its coordinates (size.py).
SENSORS: tuple[tuple[int, int], ...] = (
    (34, 34),  # N-MNIST
    (128, 128),  # DVS128
    (240, 180),  # DAVIS240
    (304, 240),  # ATIS
    (346, 260),  # DAVIS346
    (320, 320),  # GenX320
    (640, 480),  # Gen3, DVXplorer
    (1280, 720),  # Gen4
)


def make_events(t: npt.ArrayLike, x: npt.ArrayLike, y: npt.ArrayLike, p: npt.ArrayLike) -> np.ndarray:
    """Build an array of events [N] of EVENT_DTYPE from times in us, columns, rows and polarities, each [N].

    Raise PlifError for a time that int64 cannot hold and for a coordinate that 16 bits cannot hold.
    """
    events = np.empty(np.shape(t), dtype=EVENT_DTYPE)
    for name, values in (("t", t), ("x", x), ("y", y)):
        events[name] = _check_range(name, np.asarray(values))
    events["p"] = p
    return events


def _check_range(name: str, values: np.ndarray) -> np.ndarray:
    """Return the values [...] of an event field; refuse a value that the field's integer type cannot hold.

    NumPy would cut off bits, and 2^64 - 1 would become the time -1.
    """
    if values.size and not np.can_cast(values.dtype, EVENT_DTYPE[name]):
        limits, numbers = np.iinfo(EVENT_DTYPE[name]), values.dtype.kind in "iuf"
        for value in (values.min().item(), values.max().item()) if numbers else (values.flat[0],):
            if not (numbers and limits.min <= value <= limits.max):
                raise PlifError(
                    f"make_events: {name} holds {value!r}; expected numbers from {limits.min} to {limits.max}"
                )
    return values


def cast_times(t: np.ndarray) -> np.ndarray:
    """Convert integer times [N] of any dtype to int64 [N].

    A time that int64 cannot hold becomes an impossible time, which every source counts as invalid
    (sources/usable.py).
    """
    return (np.minimum(t, np.uint64(T_LIMIT_US)) if t.dtype.kind == "u" else t).astype(np.int64)


def empty_events() -> np.ndarray:
    """Return an empty array of events [0]."""
    return np.empty(0, dtype=EVENT_DTYPE)


def events_sha256(events: np.ndarray) -> str:
    """Return the SHA-256 of events [N], in hexadecimal.

    The hash covers the array t as int64 LE, then x as uint16 LE, y as uint16 LE, and p as uint8.
    """
    digest = hashlib.sha256()
    for field, dtype in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")):
        digest.update(np.ascontiguousarray(events[field]).astype(dtype, copy=False).tobytes())
    return digest.hexdigest()
