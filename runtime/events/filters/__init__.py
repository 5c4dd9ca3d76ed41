"""Filters between a source and the framer: `--filter hot,refractory:1ms,background:5ms,roi:square,down:2,flip:x`.

They work in the order in which they are written, each on the output of the one before, in the sensor's coordinates as stored:

    hot[:2s | :FILE]       pixels that fire far more than their neighbours are masked (learnt in the first 2 s, or a list)
    refractory:1ms         a pixel is ignored for this long after an event of it that passed
    background:5ms         an event without an event of a neighbouring pixel within this time is noise
    roi:X0:Y0:X1:Y1        only x in [X0, X1) and y in [Y0, Y1), which become the picture; roi:square: the largest in the middle
    down:K                 K x K pixels become one: x // K, y // K; all events stay
    flip:x, flip:y         mirrored: x -> W-1-x, y -> H-1-y
    rotate:90|180|270      turned clockwise
    swap                   ON becomes OFF

The first three remember something of every pixel and refuse sensors of more than 4096 x 4096. How the events are cut into
packets never changes what passes. To add one: write a subclass of Filter in this folder and enter it below.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.filters.background import Background
from runtime.events.filters.base import Filter, FilterSpec, Selection
from runtime.events.filters.geometry import Down, Flip, Roi, Rotate, Swap
from runtime.events.filters.hot import Hot
from runtime.events.filters.refractory import Refractory

FILTERS: dict[str, Callable[[FilterSpec], Filter]] = {
    "hot": Hot,
    "refractory": Refractory,
    "background": Background,
    "roi": Roi,
    "down": Down,
    "flip": Flip,
    "rotate": Rotate,
    "swap": Swap,
}

__all__ = ["FILTERS", "Filter", "Filters"]


class Filters:
    """A chain of filters for events of one sensor. `sensor` is the (width, height) of what comes out."""

    def __init__(self, text: str, sensor: tuple[int, int]) -> None:
        self.each: list[Filter] = []
        for part in text.split(","):
            name, colon, argument = part.strip().partition(":")
            if name not in FILTERS:
                raise PlifError(f"--filter {text}: '{name}' is no filter; expected {', '.join(FILTERS)}")
            self.each.append(FILTERS[name](FilterSpec(f"--filter {part.strip()}", argument if colon else None, sensor)))
            sensor = self.each[-1].sensor
        self.sensor = sensor

    def __call__(self, events: np.ndarray) -> Selection:
        """Events [N] in file order, inside the source's sensor -> those [M] that pass, and which: bool [N], None for all."""
        which: np.ndarray | None = None  # positions of the events that are left; None: all
        total = len(events)
        for each in self.each:
            if not len(events):
                break
            events, kept = each(events)
            if kept is not None:
                which = np.flatnonzero(kept) if which is None else which[kept]
        if which is None:
            return events, None
        passed = np.zeros(total, bool)
        passed[which] = True
        return events, passed

    @property
    def notes(self) -> list[str]:
        return [note for each in self.each for note in each.notes]
