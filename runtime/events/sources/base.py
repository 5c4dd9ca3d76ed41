"""What every source of events offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np


class Source(Protocol):
    """Events in bounded packets, from a file or live."""

    name: str  # what the user typed
    format: str  # "nmnist", "evt3", "csv", ...
    sensor: tuple[int, int]  # (width, height)
    upright: str  # how the stored view becomes upright: "identity", "rotate180" or "flip_y"
    live: bool  # cannot be read twice
    invalid: int  # events found so far that cannot be used (outside the sensor, invalid bit, ...)
    notes: list[str]  # one line for each thing lost; complete once packets() has ended

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events in file order, at most `max_events` at a time. A recording starts afresh at each call."""
        ...

    def count(self) -> int:
        """How many events packets() yields over a whole recording. PlifError for a live source."""
        ...
