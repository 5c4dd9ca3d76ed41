"""Events as one structured array, and the hash by which recordings are compared.

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
    """Times in us, columns, rows and polarities, each [N] -> events [N] of EVENT_DTYPE. PlifError for a time that int64 cannot
    hold and for a coordinate that 16 bits cannot."""
    events = np.empty(np.shape(t), dtype=EVENT_DTYPE)
    for name, values in (("t", t), ("x", x), ("y", y)):
        events[name] = _within(name, np.asarray(values))
    events["p"] = p
    return events


def _within(name: str, values: np.ndarray) -> np.ndarray:
    """The values [...] of a field, where it holds each: NumPy would cut off bits, and 2^64 - 1 would be the time -1."""
    if values.size and not np.can_cast(values.dtype, EVENT_DTYPE[name]):
        limits, numbers = np.iinfo(EVENT_DTYPE[name]), values.dtype.kind in "iuf"
        for found in (values.min().item(), values.max().item()) if numbers else (values.flat[0],):
            if not (numbers and limits.min <= found <= limits.max):
                raise PlifError(
                    f"make_events: {name} holds {found!r}; expected numbers from {limits.min} to {limits.max}"
                )
    return values


def as_times(t: np.ndarray) -> np.ndarray:
    """Whole numbers [N] of any dtype -> int64 [N]. What int64 cannot hold stays impossible, and counts as invalid where such
    times of all sources do (sources/usable.py)."""
    return (np.minimum(t, np.uint64(T_LIMIT_US)) if t.dtype.kind == "u" else t).astype(np.int64)


def no_events() -> np.ndarray:
    """Events [0]."""
    return np.empty(0, dtype=EVENT_DTYPE)


def events_sha256(events: np.ndarray) -> str:
    """SHA-256 of events [N]: the whole array t as int64 LE, then x as uint16 LE, y as uint16 LE, p as uint8."""
    digest = hashlib.sha256()
    for field, dtype in (("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")):
        digest.update(np.ascontiguousarray(events[field]).astype(dtype, copy=False).tobytes())
    return digest.hexdigest()
