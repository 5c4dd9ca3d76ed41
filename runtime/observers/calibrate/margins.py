"""The choice of a margin for each class: fewest missed gestures with a bounded number of false labels."""

from __future__ import annotations

import numpy as np


def choose_class_margins(missed: np.ndarray, false: np.ndarray, max_false: int) -> list[int]:
    """Choose a margin (row) for each class: fewest missed gestures in all, with at most `max_false` false labels.

    missed, false  int [rows, classes]: the numbers of each class with that row. Classes are taken as independent.
                   Returns [] if no choice keeps the bound.
    """
    # index: the most false labels so far
    sums, rows = np.zeros(max_false + 1), [list[int]() for _ in range(max_false + 1)]
    for k in range(missed.shape[1]):
        before, chosen = sums, rows
        sums, rows = np.full(max_false + 1, np.inf), [list[int]() for _ in range(max_false + 1)]
        for i in reversed(range(len(missed))):  # the largest margin of equals wins
            for n in range(false[i, k], max_false + 1):
                cost = before[n - false[i, k]] + missed[i, k]
                if cost < sums[n]:
                    sums[n], rows[n] = cost, [*chosen[n - false[i, k]], i]
    return rows[max_false]
