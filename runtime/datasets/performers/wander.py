"""Randomness that does not depend on the division of time into pieces: drawn parameters, and smooth random functions.

Held-out values. A parameter that is uniform between low and high is low + u (high - low). For held-out performers u
lies in its tenths 2 and 7, for all others in the other eight, so that the two groups never share a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Choice = TypeVar("Choice")

TENTHS_HELD_OUT = (2, 7)
TENTHS_TRAINED = (0, 1, 3, 4, 5, 6, 8, 9)
WAVES = 4


class ParameterDraws:
    """A generator of random parameters from a seed, with separate values for held-out performers."""

    def __init__(self, seed: Sequence[int], held_out: bool) -> None:
        self.rng = np.random.default_rng([*seed, int(held_out)])
        self._tenths = TENTHS_HELD_OUT if held_out else TENTHS_TRAINED

    def within(self, low: float, high: float) -> float:
        tenth = self._tenths[int(self.rng.integers(len(self._tenths)))]
        return float(low + (high - low) * (tenth + self.rng.random()) / 10)

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.rng.integers(len(choices)))]

    def integer(self) -> int:
        return int(self.rng.integers(2**31))


def smooth_noise(t_s: Doubles, seed: Sequence[int], hz: float) -> Doubles:
    """Return smooth random noise at times float64 [T] in seconds, about -1..1: a sum of four sines up to `hz`."""
    total = np.zeros(len(t_s))
    for k, (share, begin) in enumerate(_draw_waves(tuple(seed))):
        f = hz * (0.25 + 0.75 * (k + share) / WAVES)
        total += np.sin(2 * np.pi * (f * t_s + begin)) / (1 + k)
    return total / 1.4


@lru_cache(1 << 10)  # a scene needs the same waves every 20 ms
def _draw_waves(seed: tuple[int, ...]) -> list[list[float]]:
    drawn: list[list[float]] = np.random.default_rng(seed).random((WAVES, 2)).tolist()
    return drawn
