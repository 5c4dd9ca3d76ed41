"""A pixel is ignored for a time after each event of it that passed: an event passes where |t - t_passed| >= refractory.

Whether an event passes depends on which of the same pixel passed before. So all pixels advance together, each by one of its
events; when only a few pixels have events left, these are finished one by one.
"""

from __future__ import annotations

import numpy as np

from runtime.events.filters.base import NEVER_US, Filter, FilterSpec, Selection, index_pixels, select

FEW = 16  # with fewer pixels than this, a loop over single events is faster than whole-array steps


class Refractory(Filter):
    """refractory:TIME. Events [N] -> those that come TIME or more after the last one of their pixel that passed."""

    KEEPS = ("_passed",)

    def __init__(self, request: FilterSpec) -> None:
        super().__init__(request)
        self.us = request.parse_time_us("refractory:1ms")
        self._passed = np.full(request.count_pixels(), NEVER_US, np.int64)  # when an event last passed

    def __call__(self, events: np.ndarray) -> Selection:
        pixel = index_pixels(events, self.sensor[0])
        order = np.argsort(pixel, kind="stable")
        pixel, t = pixel[order], events["t"][order].astype(np.int64)
        at = np.flatnonzero(np.diff(pixel, prepend=-1))  # the first event of each pixel
        end = np.append(at[1:], len(t))
        which = pixel[at]
        passed = self._passed[which]
        keep = np.zeros(len(t), bool)
        while len(at) > FEW:
            now = t[at]
            fine = np.abs(now - passed) >= self.us
            keep[at[fine]] = True
            passed = np.where(fine, now, passed)
            at = at + 1
            more = at < end
            if not more.all():
                self._passed[which[~more]] = passed[~more]
                at, end, which, passed = at[more], end[more], which[more], passed[more]
        for one, begin, stop, last in zip(which.tolist(), at.tolist(), end.tolist(), passed.tolist(), strict=True):
            for i, now_us in enumerate(t[begin:stop].tolist(), begin):
                if abs(now_us - last) >= self.us:
                    keep[i] = True
                    last = now_us
            self._passed[one] = last
        kept = np.empty(len(t), bool)
        kept[order] = keep
        return select(events, kept)
