"""Percentiles of an endless stream of durations in constant memory."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TypedDict

import numpy as np

Z95 = 1.959963984540054  # of the normal distribution: 95 % lie within +- Z95
_LOWEST_MS = 1e-3
_BINS_PER_DECADE = 231  # neighbouring bins differ by 1 %
_DECADES = 8  # 1 us .. 100 s

Percentiles = TypedDict("Percentiles", {"p50": float | None, "p99": float | None})  # noqa: UP013


class Latencies:
    """A histogram on a logarithmic axis from 1 us to 100 s: percentiles are right within 1 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS_PER_DECADE * _DECADES + 1, np.int64)
        self._count, self._total_ms = 0, 0.0
        self._waiting: deque[float] = deque()
        self._lock = threading.Lock()
        self.add = (
            self._waiting.append
        )  # counts one duration, in milliseconds; whoever adds for ever calls `enter` at times

    def enter(self) -> None:
        """Puts the durations that wait into their bins. May be called from any thread."""
        with self._lock:
            ms = np.array([self._waiting.popleft() for _ in range(len(self._waiting))])
            if len(ms):
                places = (np.log10(np.maximum(ms, _LOWEST_MS) / _LOWEST_MS) * _BINS_PER_DECADE).astype(np.int64)
                self._counts += np.bincount(np.minimum(places, len(self._counts) - 1), minlength=len(self._counts))
                self._count += len(ms)
                self._total_ms += float(ms.sum())

    @property
    def count(self) -> int:
        """How many durations."""
        self.enter()
        return self._count

    @property
    def total_ms(self) -> float:
        """Their sum."""
        self.enter()
        return self._total_ms

    def counts(self) -> dict[int, int]:
        """{bin: durations in it} of the bins that are not empty: what `add_counts` of another one takes."""
        self.enter()
        return {int(place): int(self._counts[place]) for place in np.flatnonzero(self._counts)}

    def add_counts(self, counts: Mapping[int, int]) -> None:
        """Adds the durations that another histogram has counted. Raises IndexError for a bin that there is not."""
        for place, count in counts.items():
            self._counts[place] += count
            self._count += count
            self._total_ms += count * _middle_ms(place)

    def percentile(self, percent: float) -> float | None:
        """The duration in milliseconds that `percent` (0..100) of all stay below; None when nothing was measured."""
        if self.count == 0:
            return None
        place = int(np.searchsorted(np.cumsum(self._counts), self.count * percent / 100))
        return _middle_ms(place)

    def interval(self, percent: float) -> tuple[float | None, float | None]:
        """The 95 % interval of that percentile, in milliseconds, whatever the distribution: between two order statistics.

        Of n durations so many lie below it: p n, give or take 1.96 sqrt(n p (1 - p)). An end is None where n is too small for it.
        """
        n, p = self.count, percent / 100
        half = Z95 * math.sqrt(n * p * (1 - p))
        low, high = math.floor(n * p - half), math.ceil(n * p + half) + 1
        return self.percentile(100 * low / n) if low > 0 else None, self.percentile(
            100 * high / n
        ) if 0 < high <= n else None

    def below(self, bounds_ms: Sequence[float]) -> list[int]:
        """How many durations lie below each bound, within the 1 % of a bin."""
        self.enter()
        places = [round(np.log10(bound / _LOWEST_MS) * _BINS_PER_DECADE) for bound in bounds_ms]
        sums = np.concatenate([[0], np.cumsum(self._counts)])
        return [int(sums[min(max(place, 0), len(self._counts))]) for place in places]

    def histogram(self, bins_per_decade: int = 10) -> tuple[list[float], list[int]]:
        """(edges_ms, counts) of the bins from the first to the last that is not empty, for drawing.

        There is one more edge than counts. Both are empty when nothing was measured.
        """
        self.enter()
        place = np.arange(len(self._counts)) * bins_per_decade // _BINS_PER_DECADE
        counts = np.bincount(place, weights=self._counts).astype(np.int64)
        held = np.flatnonzero(counts)
        if not len(held):
            return [], []
        first, last = int(held[0]), int(held[-1])
        edges = _LOWEST_MS * 10 ** (np.arange(first, last + 2) / bins_per_decade)
        return [float(f"{edge:.4g}") for edge in edges], counts[first : last + 1].tolist()

    def to_dict(self) -> Percentiles:
        """{"p50": ms, "p99": ms} with four digits, as commands print them."""
        return {"p50": _rounded(self.percentile(50)), "p99": _rounded(self.percentile(99))}

    def intervals(self) -> dict[str, list[float | None]]:
        """{"p50": [low, high], "p99": ...}, their 95 % intervals, as `to_dict`."""
        return {f"p{percent}": [_rounded(end) for end in self.interval(percent)] for percent in (50, 99)}


def _middle_ms(place: int) -> float:
    """The middle of a bin."""
    return float(_LOWEST_MS * 10 ** ((place + 0.5) / _BINS_PER_DECADE))


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else float(f"{ms:.4g}")
