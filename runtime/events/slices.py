"""How many events each slice of a whole recording holds, for the framings that divide one: a pass or two before the frames.

    count:T   q = floor(N / T); each slice q events, the last one the rest                    (Fang et al. 2021, Eq. S1)
    time:T    d = floor((t_N - t_1) / T); slice j the events of [t_1 + d j, t_1 + d (j + 1)), the last one the rest

The second is SpikingJelly's split_by="time". Its slices follow the running maximum of t, so that an event that steps back in
time stays between its neighbours; where d = 0 the last slice has all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from runtime.events.framing import Framing

Passes = Callable[[], Iterable[np.ndarray]]  # the events of the recording, in parts of any size, at each call


def count_slices(T: int, total: int) -> list[int]:
    """N events -> how many each of T slices holds."""
    quota = total // T
    return [quota] * (T - 1) + [total - quota * (T - 1)]


def time_slices(T: int, passes: Passes) -> list[int]:
    """Events -> how many each of T slices of equal time holds. Two passes."""
    first = last = None
    for part in passes():
        if len(part):
            first, last = int(part["t"][0]) if first is None else first, int(part["t"][-1])
    counts = np.zeros(T, np.int64)
    if first is None or last is None:
        return counts.tolist()
    span_us, clock_us = max(0, last - first) // T, first
    for part in passes():
        if len(part):
            t = np.maximum.accumulate(np.maximum(part["t"], clock_us))
            clock_us = int(t[-1])
            place = np.minimum((t - first) // span_us, T - 1) if span_us else np.full(len(t), T - 1)
            counts += np.bincount(place, minlength=T)
    return counts.tolist()


def slices_of(framing: Framing, passes: Passes) -> list[int] | None:
    """How many events each slice holds; None for a framing that follows a clock."""
    if not framing.whole:
        return None
    assert framing.T is not None
    if framing.kind == "time":
        return time_slices(framing.T, passes)
    return count_slices(framing.T, sum(len(part) for part in passes()))
