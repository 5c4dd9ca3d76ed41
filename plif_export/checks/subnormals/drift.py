"""Bounds on the error of a value if subnormal numbers (below 2^-126) are flushed to zero, with the arithmetic on them.

PyTorch keeps subnormal numbers; arithmetic with them is slow on many processors, so engines flush them if no result
changes. In two runs, one of which flushes, a value differs by

    E = sum over the states of |gain| d + moved      d: the difference of that state before the step

    a + b, a - b    gains and moved add up, and TINY = 2^-126 is added: the operands or the sum may be flushed
    c a             c a fixed number: times |c|, and TINY
    a + c           if E <= 2^-24 |c|, the sum does not differ: it is a multiple of 2^-25 |c|, and rounding removes E
    a > c           likewise: no effect if a is compared with a number that is not 0, or nearly 0
    states          d after a step follows from d before it; over 2^40 steps it must stay below LARGEST

At a tie, rounding may increase the difference: as between any two programs that add in different orders, which the
gate's bound (bounds.py) covers. Everything else is an effect: a changing value compared with 0 or with another, a
product of two, a division by one, a root or a logarithm of one, a state that grows by itself. A state may be as small
as any number, since states decay and are restored. Two assumptions are made: no state is larger than the network
makes it, and |x| <= 2^24.
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
DIGITS = 2.0**-25  # the last digit of a float32, relative to a number next to it or up to twice as large
LARGEST = 2.0**-64  # the error of 2^22 flushed operations in each of 2^40 steps

Interval = tuple[float, float]
Operand = Union["Drift", SupportsFloat]
ZERO = (0.0, 0.0)


class FlushEffect(Exception):
    """The error that tells, in half a sentence, how flushing subnormal numbers to zero can change a network."""


@dataclass(frozen=True, eq=False)
class Drift:
    """A bound on the error that flushing subnormal numbers to zero can cause in a value or tensor.

    low, high: the range of the value, in both runs.
    unit: a power of two that the value is a multiple of; 0 if unknown. From TINY on, the value is never subnormal.
    gains: {state: the least and the largest factor with which the value follows that state}.
    moved: the largest change by flushing in this step.
    from_state: whether the range is an assumption about a state.
    numbers: float32 [...] of a fixed value, else None.
    """

    low: float
    high: float
    unit: float = 0.0
    gains: Mapping[str, Interval] = field(default_factory=dict)
    moved: float = 0.0
    from_state: bool = False
    numbers: Array | None = None

    @classmethod
    def from_numbers(cls, numbers: Array) -> Drift:
        """Make the flushing-error bound (drift) of fixed parameters float32 [...], some of them perhaps subnormal."""
        flushed = bool(np.any((np.abs(numbers) < TINY) & (numbers != 0)))
        return cls(float(numbers.min()), float(numbers.max()), lowest_unit(numbers), {}, TINY * flushed, False, numbers)

    @property
    def is_exact(self) -> bool:
        """True if a value with an error bound is the same with and without flushing of subnormal numbers."""
        return not self.gains and self.moved == 0

    @property
    def max_error(self) -> float:
        """The bound on the difference of a value between runs with and without flushing of subnormal numbers."""
        return sum(max_magnitude(gain) for gain in self.gains.values()) * LARGEST + self.moved

    @property
    def max_abs(self) -> float:
        return max_magnitude((self.low, self.high))

    @property
    def min_abs(self) -> float:
        """The smallest absolute value that a value with a known range and error bound can have."""
        if self.numbers is not None:
            return float(np.abs(self.numbers).min())
        return 0.0 if self.from_state else max(self.low, -self.high, 0.0)

    @cached_property
    def row_bounds(self) -> Interval:
        """The lowest sum of negative weights, and highest sum of positive ones, of any row of weights [O, ...]."""
        assert self.numbers is not None
        flat = self.numbers.reshape(len(self.numbers), -1).astype(np.float64)
        return float(np.minimum(flat, 0).sum(1).min()), float(np.maximum(flat, 0).sum(1).max())

    def __add__(self, operand: Operand) -> Drift:
        b = as_drift(operand)
        if self.numbers is not None and b.numbers is not None:
            return Drift.from_numbers(self.numbers + b.numbers)
        low, high, unit = self.low + b.low, self.high + b.high, min(self.unit, b.unit)
        gains = {k: _add_intervals(self.gains.get(k, ZERO), b.gains.get(k, ZERO)) for k in {**self.gains, **b.gains}}
        for c, a in ((self, b), (b, self)):
            if c.is_exact and a.max_error <= ROUNDING * c.min_abs:
                unit = max(unit, _floor_power_of_two(c.min_abs) * DIGITS)
        return _make_drift(low, high, unit, gains, self.moved + b.moved + TINY, self.from_state or b.from_state)

    def __sub__(self, operand: Operand) -> Drift:
        return self + as_drift(operand) * -1

    def __mul__(self, operand: Operand) -> Drift:
        b = as_drift(operand)
        if self.numbers is not None and b.numbers is not None:
            return Drift.from_numbers(self.numbers * b.numbers)
        # the factor is fixed if possible, else exact, else bounded
        factor, value = sorted((self, b), key=lambda d: (d.numbers is None, not d.is_exact, d.max_abs))
        if factor.numbers is None and not factor.is_exact:
            raise FlushEffect("multiplies two values that move")
        return _scale_drift(value, lambda ends: _multiply_intervals((factor.low, factor.high), ends), factor)

    def __truediv__(self, operand: Operand) -> Drift:
        b = as_drift(operand)
        if not b.is_exact or b.min_abs == 0:
            raise FlushEffect("divides by a value that moves, or that is 0 or nearly")
        if self.numbers is not None and b.numbers is not None:
            return Drift.from_numbers(self.numbers / b.numbers)
        ends = (
            (-1 / b.min_abs, 1 / b.min_abs)
            if b.low < 0 < b.high
            else join_intervals((1 / b.high,) * 2, (1 / b.low,) * 2)
        )
        return self * Drift(*ends, find_reciprocal_unit(b.max_abs), from_state=b.from_state)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, operand: SupportsFloat) -> Drift:
        return as_drift(operand) - self

    def __rtruediv__(self, operand: SupportsFloat) -> Drift:
        return as_drift(operand) / self

    def _compare(self, operand: Operand) -> None:
        """Refuse a comparison whose outcome may change if subnormal numbers are flushed to zero."""
        b = as_drift(operand)
        if b is not self and not (self.is_exact and b.is_exact) and not (self - b).is_exact:
            raise FlushEffect("compares what may be subnormal with 0, with next to it, or with another such value")

    __ge__ = __gt__ = __lt__ = _compare


# --- rules ------------------------------------------------------------------------------------------------------------------

ONE = Drift(1.0, 1.0, 1.0)  # the factor of a sum without weights


def as_drift(value: Operand) -> Drift:
    return value if isinstance(value, Drift) else Drift.from_numbers(np.asarray(value, np.float32))


def _make_drift(
    low: float, high: float, unit: float, gains: Mapping[str, Interval], moved: float, from_state: bool
) -> Drift:
    """Make the bound on the error from flushed subnormal numbers (drift) of an operation's result.

    A multiple of a unit from TINY on is never flushed, and so the same in both runs.
    """
    return (
        Drift(low, high, unit, from_state=from_state)
        if unit >= TINY
        else Drift(low, high, 0.0, gains, moved, from_state)
    )


def _scale_drift(
    x: Drift, scale: Callable[[Interval], Interval], factor: Drift, by: float = 0.0, terms: int = 1
) -> Drift:
    """Return the flushing-error bound (drift) of a value times a factor, or of a sum of such products.

    scale: interval -> the interval of the result. by: bound on the growth of sizes, if it is not the factor's size.
    terms: the number of products in the sum.
    """
    by = by or factor.max_abs
    moved = _multiply(x.moved, by) + terms * (TINY + (_multiply(TINY, x.max_abs) if factor.moved else 0.0))
    gains = {key: scale(gain) for key, gain in x.gains.items()}
    return _make_drift(
        *scale((x.low, x.high)), min(x.unit * factor.unit, WHOLE), gains, moved, x.from_state or factor.from_state
    )


def bound_product_sum(x: Drift, rows: Interval, terms: int, factor: Drift) -> Drift:
    """Return the flushing-error bound (drift) of a sum of a value's products with factors, as in a linear layer.

    rows: bounds on the sums of the negative and of the positive factors. terms: the number of products.
    """

    def scale(ends: Interval) -> Interval:
        below, above = min(ends[0], 0.0), max(ends[1], 0.0)
        return _multiply(rows[0], above) + _multiply(rows[1], below), _multiply(rows[1], above) + _multiply(
            rows[0], below
        )

    return _scale_drift(x, scale, factor, rows[1] - rows[0], terms)


def bound_union(*values: Drift) -> Drift:
    """Return the flushing-error bound (drift) of a value that equals one of several values."""
    names = {name: None for value in values for name in value.gains}
    gains = {name: join_intervals(*(value.gains.get(name, ZERO) for value in values)) for name in names}
    low, high = join_intervals(*((value.low, value.high) for value in values))
    unit, moved = min(value.unit for value in values), max(value.moved for value in values)
    return Drift(low, high, unit, gains, moved, any(value.from_state for value in values))


def _max_of(a: Drift, b: Drift) -> Drift:
    return replace(bound_union(a, b), low=max(a.low, b.low), high=max(a.high, b.high))


def _min_of(a: Drift, b: Drift) -> Drift:
    return replace(bound_union(a, b), low=min(a.low, b.low), high=min(a.high, b.high))


def _limit_slope(x: Drift, slope: float, low: float) -> Drift:
    """Return the flushing-error bound (drift) of a function with a limited slope, such as a sigmoid."""
    return replace(x * Drift(0.0, slope), low=low, high=1.0)


def round_drift(x: Drift, step: float) -> Drift:
    """Return the flushing-error bound (drift) of a value that is rounded to a whole number.

    step: the smallest |x| at which the rounded value changes.
    """
    if not x.is_exact and x.max_error > ROUNDING * step:
        raise FlushEffect("rounds what may be next to a step")
    return Drift(x.low - 1, x.high + 1, 1.0, from_state=x.from_state)


def _require_exact(x: Drift, name: str) -> Drift:
    if not x.is_exact:
        raise FlushEffect(f"takes {name} of what may be next to 0")
    return Drift(-inf, inf, moved=TINY)


def _exp_drift(x: Drift) -> Drift:
    """Return the flushing-error bound (drift) of e^x, where x is a bounded value.

    An error of x below a rounding of 1 changes e^x by less than one rounding.
    """
    if x.max_error > ROUNDING:
        raise FlushEffect("takes Exp of what moves")
    return Drift(0.0, inf, moved=TINY)


RULES: dict[str, Callable[..., Any]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Neg": lambda a: a * -1,
    "Min": _min_of,
    "Max": _max_of,
    "Relu": lambda a: _max_of(a, as_drift(0.0)),
    "Clip": lambda a, low, high: _min_of(_max_of(a, low), high),
    "Abs": lambda a: replace(bound_union(a, a * -1), low=max(a.low, -a.high, 0.0)),
    "Identity": lambda a: a,
    "Round": lambda a: round_drift(a, 0.5),
    "Floor": lambda a: round_drift(a, 0.0),
    "Ceil": lambda a: round_drift(a, 0.0),
    "Sigmoid": lambda a: _limit_slope(a, 0.25, 0.0),
    "Tanh": lambda a: _limit_slope(a, 1.0, -1.0),
    "Exp": _exp_drift,
    "Sqrt": lambda a: _require_exact(a, "Sqrt"),
    "Log": lambda a: _require_exact(a, "Log"),
    "Greater": lambda a, b: a > b,
    "GreaterOrEqual": lambda a, b: a >= b,
    "Less": lambda a, b: a < b,
    "Equal": lambda a, b: a >= b,
}


def _floor_power_of_two(value: float) -> float:
    """Return the largest power of two that is not larger than a value."""
    return float(2.0 ** np.floor(np.log2(value))) if value > 0 and isfinite(value) else 0.0


def find_reciprocal_unit(most: float) -> float:
    """Return a power of two of which each float32 quotient n / m of whole numbers, m up to `most`, is a multiple."""
    return _floor_power_of_two(1 / most) * DIGITS


def max_magnitude(ends: Interval) -> float:
    return max(abs(ends[0]), abs(ends[1]))


def _multiply(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b  # 0 times infinity is 0


def _multiply_intervals(a: Interval, b: Interval) -> Interval:
    products = [_multiply(x, y) for x in a for y in b]
    return min(products), max(products)


def _add_intervals(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def join_intervals(*ends: Interval) -> Interval:
    return min(low for low, _ in ends), max(high for _, high in ends)
