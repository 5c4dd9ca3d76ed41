"""Randomness that does not depend on how time is cut: drawn parameters, and smooth functions of time.

Held-out values. A parameter uniform between low and high is low + u (high - low); u lies in tenths 2 and 7 for held-out
performers and in the other eight for the rest, so that the two never share a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Choice = TypeVar("Choice")

TENTHS_HELD_OUT = (2, 7)
TENTHS_TRAINED = (0, 1, 3, 4, 5, 6, 8, 9)
WAVES = 4


class Draw:
    """Draws one parameter after the other."""

    def __init__(self, seed: Sequence[int], held_out: bool) -> None:
        self.rng = np.random.default_rng([*seed, int(held_out)])
        self._tenths = TENTHS_HELD_OUT if held_out else TENTHS_TRAINED

    def within(self, low: float, high: float) -> float:
        tenth = self._tenths[int(self.rng.integers(len(self._tenths)))]
        return float(low + (high - low) * (tenth + self.rng.random()) / 10)

    def pick(self, choices: Sequence[Choice]) -> Choice:
        return choices[int(self.rng.integers(len(choices)))]

    def whole(self) -> int:
        return int(self.rng.integers(2**31))


def wander(t_s: Doubles, seed: Sequence[int], hz: float) -> Doubles:
    """A smooth function of time, about -1..1: four sines of random phases, the slowest a quarter of `hz`, the fastest hz."""
    rng = np.random.default_rng(list(seed))
    found = np.zeros(len(t_s))
    for k in range(WAVES):
        f = hz * (0.25 + 0.75 * (k + rng.random()) / WAVES)
        found += np.sin(2 * np.pi * (f * t_s + rng.random())) / (1 + k)
    return found / 1.4
