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
    """A histogram of durations on a logarithmic axis, 1 us to 100 s; percentiles are right within 1 %."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS_PER_DECADE * _DECADES + 1, np.int64)
        self._count, self._total_ms = 0, 0.0
        self._waiting: deque[float] = deque()
        self._lock = threading.Lock()
        self.add = (
            self._waiting.append
        )  # counts one duration, in milliseconds; a caller that adds for ever must call `flush` at times

    def flush(self) -> None:
        """Sort the durations that were added to a histogram since the last call into its bins; any thread may call it."""
        with self._lock:
            ms = np.array([self._waiting.popleft() for _ in range(len(self._waiting))])
            if len(ms):
                bins = (np.log10(np.maximum(ms, _LOWEST_MS) / _LOWEST_MS) * _BINS_PER_DECADE).astype(np.int64)
                self._counts += np.bincount(np.minimum(bins, len(self._counts) - 1), minlength=len(self._counts))
                self._count += len(ms)
                self._total_ms += float(ms.sum())

    @property
    def count(self) -> int:
        """The number of durations in the histogram."""
        self.flush()
        return self._count

    @property
    def total_ms(self) -> float:
        """The sum of all durations, in milliseconds."""
        self.flush()
        return self._total_ms

    def counts(self) -> dict[int, int]:
        """Return {bin index: number of durations} of a histogram's bins that are not empty."""
        self.flush()
        return {int(i): int(self._counts[i]) for i in np.flatnonzero(self._counts)}

    def add_counts(self, counts: Mapping[int, int]) -> None:
        """Add the durations that another histogram has counted, as {bin index: number of durations}.

        Raises IndexError for a bin that does not exist.
        """
        for i, count in counts.items():
            self._counts[i] += count
            self._count += count
            self._total_ms += count * _bin_center_ms(i)

    def percentile(self, percent: float) -> float | None:
        """Return the duration in ms that `percent` (0..100) of all stay below; None without durations."""
        if self.count == 0:
            return None
        i = int(np.searchsorted(np.cumsum(self._counts), self.count * percent / 100))
        return _bin_center_ms(i)

    def interval(self, percent: float) -> tuple[float | None, float | None]:
        """Return the 95 % confidence interval of a percentile, in ms, for any distribution of the durations.

        It lies between two order statistics: of n durations, p n lie below the percentile, give or take 1.96 sqrt(n p
        (1 - p)). An end is None where n is too small for it.
        """
        n, p = self.count, percent / 100
        half = Z95 * math.sqrt(n * p * (1 - p))
        low, high = math.floor(n * p - half), math.ceil(n * p + half) + 1
        return self.percentile(100 * low / n) if low > 0 else None, self.percentile(
            100 * high / n
        ) if 0 < high <= n else None

    def count_below(self, bounds_ms: Sequence[float]) -> list[int]:
        """Count a histogram's durations below each bound in ms, to within the 1 % width of a bin."""
        self.flush()
        bins = [round(np.log10(bound / _LOWEST_MS) * _BINS_PER_DECADE) for bound in bounds_ms]
        sums = np.concatenate([[0], np.cumsum(self._counts)])
        return [int(sums[min(max(i, 0), len(self._counts))]) for i in bins]

    def histogram(self, bins_per_decade: int = 10) -> tuple[list[float], list[int]]:
        """Return (edges in ms, counts) of a histogram's bins, from the first to the last filled one, for drawing.

        There is one more edge than counts. Both are empty when nothing was measured.
        """
        self.flush()
        bins = np.arange(len(self._counts)) * bins_per_decade // _BINS_PER_DECADE
        counts = np.bincount(bins, weights=self._counts).astype(np.int64)
        filled = np.flatnonzero(counts)
        if not len(filled):
            return [], []
        first, last = int(filled[0]), int(filled[-1])
        edges = _LOWEST_MS * 10 ** (np.arange(first, last + 2) / bins_per_decade)
        return [float(f"{edge:.4g}") for edge in edges], counts[first : last + 1].tolist()

    def to_dict(self) -> Percentiles:
        """Return {"p50": ms, "p99": ms} of a histogram of durations, with four digits, as commands print them."""
        return {"p50": _round_ms(self.percentile(50)), "p99": _round_ms(self.percentile(99))}

    def intervals(self) -> dict[str, list[float | None]]:
        """Return the 95 % confidence intervals of p50 and p99: {"p50": [low, high], "p99": ...}, in ms."""
        return {f"p{percent}": [_round_ms(end) for end in self.interval(percent)] for percent in (50, 99)}


def _bin_center_ms(i: int) -> float:
    """Return the duration in ms at the center of a histogram bin."""
    return float(_LOWEST_MS * 10 ** ((i + 0.5) / _BINS_PER_DECADE))


def _round_ms(ms: float | None) -> float | None:
    return None if ms is None else float(f"{ms:.4g}")
