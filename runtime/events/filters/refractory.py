"""A pixel is deaf for a time after each event of it that passed: |t - t_passed| >= refractory, or it is filtered.

What passes depends on what passed before, pixel by pixel. Here all pixels advance together, each by one of its events; the
few that still have many when most are done are finished one by one.
"""

from __future__ import annotations

import numpy as np

from runtime.events.filters.base import NEVER_US, Passed, Request, pixels, those

FEW = 16


class Refractory:
    def __init__(self, request: Request) -> None:
        self.sensor = request.sensor
        self.notes: list[str] = []
        self.us = request.time_us("refractory:1ms")
        self._passed = np.full(request.pixels(), NEVER_US, np.int64)  # when an event last passed

    def __call__(self, events: np.ndarray) -> Passed:
        pixel = pixels(events, self.sensor[0])
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
        return those(events, kept)
