"""The output of a step as whole spikes, so that sums over steps are exact and do not depend on their order.

    c = rint(y * voters)        y is the mean of `voters` spikes a class: 0.1 added ten times is not 1, 1 added ten times is 10

A network without a vote layer has no whole spikes; its outputs are added up as they are, in float64.
"""

from __future__ import annotations

import numpy as np


def whole_votes(y: np.ndarray, voters: int) -> np.ndarray:
    """y float32 [..., classes], what a step gave -> float64 [..., classes]: spikes of each class, or y where voters is 1."""
    wide = y.astype(np.float64)
    return np.rint(wide * voters) if voters > 1 else wide
