"""What it does to a value that subnormal numbers (below 2^-126) are flushed to zero; arithmetic on drifts is that of the values.

PyTorch keeps them; arithmetic with them is slow on many processors, so engines flush them where nothing shows it. In two runs,
of which one flushes, a value differs by

    E = sum over the states of |gain| d + moved      d: what that state differs by before the step

    a + b, a - b    gains and moved add up, and TINY = 2^-126 comes on top: the operands or the sum may be flushed
    c a             c a fixed number: times |c|, and TINY
    a + c           where E <= 2^-24 |c| the sum does not differ: it is a multiple of 2^-25 |c|, and rounding takes E away
    a > c           likewise: nothing is noticed where a is compared with a number that is not 0, or nearly
    states          d after a step follows from d before it; over 2^40 steps it must stay below LARGEST

At a tie, rounding may make more of a difference than it was: as between any two programs that add in different orders, which
the gate's bound (bounds.py) is for. Everything else is noticed: a value that moves compared with 0 or with another, a product of
two, a division by one, a root or a logarithm of one, a state that grows by itself. A state may be anything tiny, since states
fade and are restored; it is believed that none is larger than the network makes it, and that |x| <= 2^24.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf, isfinite
from typing import Any, SupportsFloat, Union

import numpy as np

from plif_export.core.proof.arithmetic.arrays import Array
from plif_export.core.proof.arithmetic.measure import WHOLE, lowest_unit

TINY = 2.0**-126
ROUNDING = 2.0**-24
DIGITS = 2.0**-25  # of a float32 next to a number, or between it and half of it, the last digit
LARGEST = 2.0**-64  # 2^22 flushed operations in each of so many steps

Interval = tuple[float, float]
Operand = Union["Drift", SupportsFloat]
ZERO = (0.0, 0.0)


class Notices(Exception):
    """What notices, in half a sentence."""


@dataclass(frozen=True, eq=False)
class Drift:
    """What flushing can do to a value; of a tensor, to each of its numbers.

    low, high  where it lies, in both runs
    unit       a power of two that it is a multiple of; 0 where none is known. From TINY on, it is never subnormal
    gains      {state: the least and the largest factor with which it follows that state}
    moved      how far flushing in this step moves it
    held       whether its range is believed of a state
    numbers    float32 [...] where it is fixed, else None
    """

    low: float
    high: float
    unit: float = 0.0
    gains: Mapping[str, Interval] = field(default_factory=dict)
    moved: float = 0.0
    held: bool = False
    numbers: Array | None = None

    @classmethod
    def fixed(cls, numbers: Array) -> Drift:
        """Of parameters float32 [...]; one that is subnormal is flushed itself."""
        flushed = bool(np.any((np.abs(numbers) < TINY) & (numbers != 0)))
        return cls(float(numbers.min()), float(numbers.max()), lowest_unit(numbers), {}, TINY * flushed, False, numbers)

    @property
    def exact(self) -> bool:
        """Whether it is the same in both runs."""
        return not self.gains and self.moved == 0

    @property
    def differs(self) -> float:
        """E, at most."""
        return sum(largest(gain) for gain in self.gains.values()) * LARGEST + self.moved

    @property
    def most(self) -> float:
        return largest((self.low, self.high))

    @property
    def least(self) -> float:
        """How near to 0 it can be."""
        if self.numbers is not None:
            return float(np.abs(self.numbers).min())
        return 0.0 if self.held else max(self.low, -self.high, 0.0)

    @cached_property
    def rows(self) -> Interval:
        """Of fixed weights [O, ...]: the sums of the negative and of the positive ones of a row, at most."""
        assert self.numbers is not None
        flat = self.numbers.reshape(len(self.numbers), -1).astype(np.float64)
        return float(np.minimum(flat, 0).sum(1).min()), float(np.maximum(flat, 0).sum(1).max())

    def __add__(self, other: Operand) -> Drift:
        b = as_drift(other)
        if self.numbers is not None and b.numbers is not None:
            return Drift.fixed(self.numbers + b.numbers)
        low, high, unit = self.low + b.low, self.high + b.high, min(self.unit, b.unit)
        gains = {k: _sum(self.gains.get(k, ZERO), b.gains.get(k, ZERO)) for k in {**self.gains, **b.gains}}
        for c, a in ((self, b), (b, self)):
            if c.exact and a.differs <= ROUNDING * c.least:
                unit = max(unit, _power_of_two(c.least) * DIGITS)
        return _made(low, high, unit, gains, self.moved + b.moved + TINY, self.held or b.held)

    def __sub__(self, other: Operand) -> Drift:
        return self + as_drift(other) * -1

    def __mul__(self, other: Operand) -> Drift:
        b = as_drift(other)
        if self.numbers is not None and b.numbers is not None:
            return Drift.fixed(self.numbers * b.numbers)
        # as the factor rather what is fixed, what is exact, and what has an end
        factor, value = sorted((self, b), key=lambda d: (d.numbers is None, not d.exact, d.most))
        if factor.numbers is None and not factor.exact:
            raise Notices("multiplies two values that move")
        return _scaled(value, lambda ends: _products((factor.low, factor.high), ends), factor)

    def __truediv__(self, other: Operand) -> Drift:
        b = as_drift(other)
        if not b.exact or b.least == 0:
            raise Notices("divides by a value that moves, or that is 0 or nearly")
        if self.numbers is not None and b.numbers is not None:
            return Drift.fixed(self.numbers / b.numbers)
        ends = (-1 / b.least, 1 / b.least) if b.low < 0 < b.high else hull((1 / b.high,) * 2, (1 / b.low,) * 2)
        return self * Drift(*ends, reciprocal(b.most), held=b.held)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: SupportsFloat) -> Drift:
        return as_drift(other) - self

    def __rtruediv__(self, other: SupportsFloat) -> Drift:
        return as_drift(other) / self

    def _compared(self, other: Operand) -> None:
        """Nothing is left of a comparison but that it comes out the same in both runs."""
        b = as_drift(other)
        if b is not self and not (self.exact and b.exact) and not (self - b).exact:
            raise Notices("compares what may be subnormal with 0, with next to it, or with another such value")

    __ge__ = __gt__ = __lt__ = _compared


# --- rules ------------------------------------------------------------------------------------------------------------------

ONE = Drift(1.0, 1.0, 1.0)  # what a sum without weights multiplies by


def as_drift(value: Operand) -> Drift:
    return value if isinstance(value, Drift) else Drift.fixed(np.asarray(value, np.float32))


def _made(low: float, high: float, unit: float, gains: Mapping[str, Interval], moved: float, held: bool) -> Drift:
    """What an operation makes. What is a multiple of a unit from TINY on is never flushed, and the same in both runs."""
    return Drift(low, high, unit, held=held) if unit >= TINY else Drift(low, high, 0.0, gains, moved, held)


def _scaled(x: Drift, times: Callable[[Interval], Interval], factor: Drift, by: float = 0.0, terms: int = 1) -> Drift:
    """x times a factor, or so many terms of x by one factor each. times: what an interval becomes; by: what sizes become at most,
    where that is not the factor's size."""
    by = by or factor.most
    moved = _times(x.moved, by) + terms * (TINY + (_times(TINY, x.most) if factor.moved else 0.0))
    gains = {key: times(gain) for key, gain in x.gains.items()}
    return _made(*times((x.low, x.high)), min(x.unit * factor.unit, WHOLE), gains, moved, x.held or factor.held)


def added(x: Drift, rows: Interval, terms: int, factor: Drift) -> Drift:
    """Sums of terms of x, each by a factor; rows: what the negative and the positive factors of a sum are together, at most."""

    def times(ends: Interval) -> Interval:
        below, above = min(ends[0], 0.0), max(ends[1], 0.0)
        return _times(rows[0], above) + _times(rows[1], below), _times(rows[1], above) + _times(rows[0], below)

    return _scaled(x, times, factor, rows[1] - rows[0], terms)


def any_of(*values: Drift) -> Drift:
    """One of several values."""
    names = {name: None for value in values for name in value.gains}
    gains = {name: hull(*(value.gains.get(name, ZERO) for value in values)) for name in names}
    low, high = hull(*((value.low, value.high) for value in values))
    unit, moved = min(value.unit for value in values), max(value.moved for value in values)
    return Drift(low, high, unit, gains, moved, any(value.held for value in values))


def _largest_of(a: Drift, b: Drift) -> Drift:
    return replace(any_of(a, b), low=max(a.low, b.low), high=max(a.high, b.high))


def _least_of(a: Drift, b: Drift) -> Drift:
    return replace(any_of(a, b), low=min(a.low, b.low), high=min(a.high, b.high))


def _followed(x: Drift, slope: float, low: float) -> Drift:
    """A function of x that rises by at most that slope, from `low` to 1."""
    return replace(x * Drift(0.0, slope), low=low, high=1.0)


def rounded(x: Drift, step: float) -> Drift:
    """To a whole number; step: the place next to 0 where it changes."""
    if not x.exact and x.differs > ROUNDING * step:
        raise Notices("rounds what may be next to a step")
    return Drift(x.low - 1, x.high + 1, 1.0, held=x.held)


def _of_exact(x: Drift, name: str) -> Drift:
    if not x.exact:
        raise Notices(f"takes {name} of what may be next to 0")
    return Drift(-inf, inf, moved=TINY)


def _exp(x: Drift) -> Drift:
    """What moves x by less than a rounding of 1 moves e^x by less than a rounding of its own."""
    if x.differs > ROUNDING:
        raise Notices("takes Exp of what moves")
    return Drift(0.0, inf, moved=TINY)


RULES: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Neg": lambda a: a * -1,
    "Min": _least_of,
    "Max": _largest_of,
    "Relu": lambda a: _largest_of(a, as_drift(0.0)),
    "Clip": lambda a, low, high: _least_of(_largest_of(a, low), high),
    "Abs": lambda a: replace(any_of(a, a * -1), low=max(a.low, -a.high, 0.0)),
    "Identity": lambda a: a,
    "Round": lambda a: rounded(a, 0.5),
    "Floor": lambda a: rounded(a, 0.0),
    "Ceil": lambda a: rounded(a, 0.0),
    "Sigmoid": lambda a: _followed(a, 0.25, 0.0),
    "Tanh": lambda a: _followed(a, 1.0, -1.0),
    "Exp": _exp,
    "Sqrt": lambda a: _of_exact(a, "Sqrt"),
    "Log": lambda a: _of_exact(a, "Log"),
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "Equal": lambda a, b: a >= b,
}


def _power_of_two(value: float) -> float:
    """The largest that is no larger."""
    return float(2.0 ** np.floor(np.log2(value))) if value > 0 and isfinite(value) else 0.0


def reciprocal(most: float) -> float:
    """What whole numbers are multiples of that were divided by numbers up to `most`."""
    return _power_of_two(1 / most) * DIGITS


def largest(ends: Interval) -> float:
    return max(abs(ends[0]), abs(ends[1]))


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b  # also of infinity


def _products(a: Interval, b: Interval) -> Interval:
    found = [_times(x, y) for x in a for y in b]
    return min(found), max(found)


def _sum(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def hull(*ends: Interval) -> Interval:
    return min(low for low, _ in ends), max(high for _, high in ends)
