"""Background activity: an event of noise comes alone, the events of a moving thing come together.

An event passes when one of its 8 neighbours had its latest event within `us` of it (T. Delbruck, *Frame-free dynamic
digital vision*, 2008). An event that does not pass supports others all the same.

For each event and each neighbour the latest earlier event is needed, from the same packet or from one before. The events are
sorted by (pixel, order); then "the latest of pixel q before event i" is one binary search for (q, i), and the searches of all
events are in order, too.
"""

from __future__ import annotations

import numpy as np

from runtime.events.filters.base import NEVER_US, Filter, FilterSpec, Selection, select


class Background(Filter):
    """background:TIME. Events [N] -> those with a neighbour's event within TIME."""

    KEEPS = ("_latest",)

    def __init__(self, request: FilterSpec) -> None:
        super().__init__(request)
        self.us = request.parse_time_us("background:5ms")
        request.count_pixels()
        width, height = self.sensor
        self._width = width + 2  # a border of pixels that never fire, so that no pixel lacks a neighbour
        self._latest = np.full(self._width * (height + 2), NEVER_US, np.int64)
        beside = [dy * self._width + dx for dy in (0, -1, 1) for dx in (-1, 1, 0) if dx or dy]
        self._neighbours = np.array(beside, np.int64)

    def __call__(self, events: np.ndarray) -> Selection:
        pixel = (events["y"].astype(np.int64) + 1) * self._width + events["x"] + 1
        bits = len(events).bit_length()
        keys = np.sort((pixel << bits) | np.arange(len(events)))  # (pixel, order) of each event
        order = keys & ((1 << bits) - 1)
        pixel, t = keys >> bits, events["t"][order].astype(np.int64)
        alone = np.arange(len(keys))  # positions of the events without support so far
        for step in self._neighbours:
            other = pixel[alone] + step
            before = np.searchsorted(keys, keys[alone] + (step << bits)) - 1
            here = (before >= 0) & (pixel[before] == other)
            latest = np.where(here, t[before], self._latest[other])
            alone = alone[np.abs(t[alone] - latest) > self.us]
        last = np.flatnonzero(np.diff(pixel, append=-1))
        self._latest[pixel[last]] = t[last]
        kept = np.ones(len(events), bool)
        kept[order[alone]] = False
        return select(events, kept)
