"""Two networks on the same samples: which decisions changed, and whether one is really better (McNemar's test).

Samples that both get right or both wrong say nothing about a difference. Of the b + c others, b are right in the first one only
and c in the second one only; if neither is better, each falls on either side like a fair coin:

    p = min(1, 2 sum_{k=0}^{min(b, c)} C(b+c, k) / 2^(b+c))         exact, two-sided (Q. McNemar, 1947)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Paired:
    """changed: decisions that differ; only_first, only_second: right in one of them only; p: of McNemar's exact test."""

    samples: int
    changed: int
    only_first: int
    only_second: int
    p: float

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def compare(decisions: Iterable[tuple[int | None, int | None, int | None]]) -> Paired:
    """decisions  (truth, of the first, of the second) of each sample; those without a truth are not counted"""
    n = changed = first = second = 0
    for truth, a, b in decisions:
        if truth is None:
            continue
        n += 1
        changed += a != b
        first += a == truth != b
        second += b == truth != a
    return Paired(n, changed, first, second, mcnemar(first, second))


def mcnemar(b: int, c: int) -> float:
    """The p of McNemar's exact test; 1 where nothing differs."""
    n = b + c
    if n == 0:
        return 1.0
    total = sum(math.comb(n, k) for k in range(min(b, c) + 1))
    return min(1.0, 2 * total / 2**n) if n < 1000 else min(1.0, math.exp(math.log(2 * total) - n * math.log(2)))
