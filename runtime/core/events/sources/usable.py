"""Which decoded events can be used: inside the sensor, with a possible time. The rest is counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.core.events.array import EVENT_DTYPE, T_LIMIT_US
from runtime.core.events.formats.base import Losses
from runtime.native import interface


def usable(events: np.ndarray, sensor: tuple[int, int], losses: Losses) -> np.ndarray:
    """Events [N] -> those of them that can be used, in order; the others are counted in the losses."""
    width, height = sensor
    if _all_usable(events, width, height):
        return events
    inside = (events["x"] < width) & (events["y"] < height)
    possible = (events["t"] < T_LIMIT_US) & (events["t"] > -T_LIMIT_US)  # abs() of the lowest int64 is negative
    good = inside & possible
    if good.all():
        return events
    losses.add(int((~inside).sum()), outside_of(sensor))
    losses.add(int((inside & ~possible).sum()), "with an impossible time")
    return events[good]


def outside_of(sensor: tuple[int, int]) -> str:
    """The reason why an event that is not on the sensor cannot be used."""
    return f"outside the {sensor[0]}x{sensor[1]} sensor"


def _all_usable(events: np.ndarray, width: int, height: int) -> bool:
    """One pass in the native library, which replaces five in NumPy for a packet without faults. False means "not known"."""
    if events.dtype != EVENT_DTYPE or not events.flags.c_contiguous:
        return False
    return bool(interface.library().plif_all_usable(events.ctypes.data, events.nbytes, width, height, T_LIMIT_US))


def pieces(events: np.ndarray, max_events: int) -> Iterator[np.ndarray]:
    """Events [N] in packets of at most `max_events`, as views of the same array."""
    for start in range(0, len(events), max_events):
        yield events[start : start + max_events]
