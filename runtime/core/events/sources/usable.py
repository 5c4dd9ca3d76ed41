"""The filter for decoded events: those inside the sensor with a possible time are used, all others counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.core.events.array import EVENT_DTYPE, T_LIMIT_US
from runtime.core.events.formats.base import Losses
from runtime.native import interface


def keep_usable(events: np.ndarray, sensor: tuple[int, int], losses: Losses) -> np.ndarray:
    """Return the usable events of an array [N], in order; count the others in `losses`."""
    width, height = sensor
    if _are_all_usable(events, width, height):
        return events
    inside = (events["x"] < width) & (events["y"] < height)
    possible = (events["t"] < T_LIMIT_US) & (events["t"] > -T_LIMIT_US)  # abs() of the lowest int64 is negative
    good = inside & possible
    if good.all():
        return events
    losses.add(int((~inside).sum()), outside_reason(sensor))
    losses.add(int((inside & ~possible).sum()), "with an impossible time")
    return events[good]


def outside_reason(sensor: tuple[int, int]) -> str:
    """Return the text that names events outside a sensor (width, height) as the reason of their loss."""
    return f"outside the {sensor[0]}x{sensor[1]} sensor"


def _are_all_usable(events: np.ndarray, width: int, height: int) -> bool:
    """Return True if the native library finds all events [N] usable; False means "not known".

    Its one pass replaces five in NumPy for a packet without faults.
    """
    if events.dtype != EVENT_DTYPE or not events.flags.c_contiguous:
        return False
    return bool(interface.library().plif_all_usable(events.ctypes.data, events.nbytes, width, height, T_LIMIT_US))


def split_packets(events: np.ndarray, max_events: int) -> Iterator[np.ndarray]:
    """Split events [N] into packets of at most `max_events`, as views of the same array."""
    for start in range(0, len(events), max_events):
        yield events[start : start + max_events]
