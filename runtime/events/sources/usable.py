"""Which decoded events can be used: inside the sensor, with a possible time. The rest is counted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from runtime.events.array import T_LIMIT_US
from runtime.events.formats.base import Log


def usable(events: np.ndarray, sensor: tuple[int, int], log: Log) -> np.ndarray:
    """The events that can be used; the others go to the log."""
    width, height = sensor
    inside = (events["x"] < width) & (events["y"] < height)
    possible = (events["t"] < T_LIMIT_US) & (events["t"] > -T_LIMIT_US)  # abs() of the lowest int64 is negative
    good = inside & possible
    if good.all():
        return events
    log.lose(int((~inside).sum()), f"outside the {width}x{height} sensor")
    log.lose(int((inside & ~possible).sum()), "with an impossible time")
    return events[good]


def pieces(events: np.ndarray, max_events: int) -> Iterator[np.ndarray]:
    """The same events, at most `max_events` at a time."""
    for start in range(0, len(events), max_events):
        yield events[start : start + max_events]
