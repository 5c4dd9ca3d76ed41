"""What rounding can do to a value, measured beside it; arithmetic on measures is the arithmetic of the values.

A value is a sum of terms, and its measure says

    S   size    the sum of |terms|: rounding goes by the terms, however much of them cancels
    n   terms   how many terms are not zero
    u   unit    a power of two that all terms are multiples of; 0 where none is known

    bound = 2 sqrt(2 n + 16) 2^-24 S     what two float32 programs may differ by
    bound = 0          where S < 2^23 u   every partial sum, in any order, is then a float32 itself

(2^24 u would do; S itself is rounded.) A factor keeps this only if it is a power of two: others are rounded where a file writes
1 / alpha for alpha, or alpha W for W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from plif_export.core.proof.arithmetic.arrays import FUNCTIONS, Array

EPS = 2.0**-24  # float32 rounds by a relative half of 2^-23
WHOLE = 2.0**100  # the unit of 0, which is a multiple of everything
PIECE = 2**15  # values that are looked at together: they stay in a processor's cache
FLUSHED = 1e-37  # engines make 0 of smaller numbers
Operand = Union["Measure", Array, float]


def lowest_bit(values: Array) -> Array:
    """The largest power of two that each float32 value [...] is a multiple of, in float64; WHOLE for 0, 0 where it is no
    number or below what engines keep."""
    values = np.asarray(values, np.float32).astype(np.float64)
    digits, exponent = np.frexp(np.where(np.isfinite(values), values, 0))
    whole = (digits * 2.0**24).astype(np.int64)
    bit = np.ldexp((whole & -whole).astype(np.float64), exponent - 24)
    return np.where(values == 0, WHOLE, np.where(np.isfinite(values) & (bit > FLUSHED), bit, 0))


def lowest_unit(values: Array) -> float:
    """The largest power of two that all values [...] are multiples of: piece by piece, since weights are many."""
    flat = np.asarray(values, np.float32).reshape(-1)
    return min((float(lowest_bit(flat[i : i + PIECE]).min()) for i in range(0, flat.size, PIECE)), default=WHOLE)


def power_of_two(values: Array) -> Array:
    """|values| where they are powers of two, WHOLE where they are 0, else 0: the unit of a factor."""
    bit = lowest_bit(values)
    return np.where((bit == np.abs(values)) | (bit == WHOLE), bit, 0)


@dataclass(frozen=True, eq=False)
class Measure:
    """size and terms float32 [B, ...], unit float64, each broadcasting with the value; of() computes the value, which only
    functions without a rule need."""

    size: Array
    terms: Array
    unit: Array
    of: Callable[[], Array]

    @classmethod
    def known(cls, values: Array, factor: bool = False) -> Measure:
        """Of values that all programs are given: inputs, states and numbers; with `factor`, of a parameter."""
        size = np.abs(values).astype(np.float32)
        terms = np.float32(0) if factor else (values != 0).astype(np.float32)
        unit = power_of_two(values) if factor else lowest_bit(values)
        return cls(size, np.asarray(terms), unit, lambda: values)

    @classmethod
    def fired(cls, spikes: Array) -> Measure:
        """Of values 0 and 1: sizes and terms are one array, which is then moved once."""
        size = spikes.astype(np.float32)
        return cls(size, size, np.where(spikes != 0, 1.0, WHOLE), lambda: spikes)

    @property
    def one_unit(self) -> float:
        """The unit of all elements together."""
        return float(np.min(self.unit))

    def bound(self, half: float = 0.0, exact: bool = True) -> Array:
        """What two programs may differ by, float64, and nothing where that is not a number.

        half   a further relative rounding, of an engine that has float16 kernels
        exact  False: as if nothing were exact
        """
        size = self.size.astype(np.float64)
        bound = 2 * np.sqrt(2 * self.terms + 16) * EPS * size + FLUSHED + half * size
        if exact and not half:
            bound = np.where((size < 2.0**23 * self.unit) & (self.unit > FLUSHED), 0, bound)
        return np.where(np.isfinite(bound), bound, 0)

    def __add__(self, other: Operand) -> Measure:
        return self._plus(other, np.add)

    def __sub__(self, other: Operand) -> Measure:
        return self._plus(other, np.subtract)

    def __mul__(self, other: Operand) -> Measure:
        b = _measure(other)
        return Measure(
            self.size * b.size, self.terms + b.terms, self.unit * b.unit, lambda: np.multiply(self.of(), b.of())
        )

    def __truediv__(self, other: Operand) -> Measure:
        b = _measure(other)
        value = np.abs(b.of())
        unit = np.where(b.unit == value, self.unit / b.size, 0)  # b / |b| is how much of b's terms cancels
        size = self.size / value * (b.size / value)
        return Measure(size, self.terms + b.terms, unit, lambda: np.divide(self.of(), b.of()))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other: Operand) -> Measure:
        return _measure(other) - self

    def __rtruediv__(self, other: Operand) -> Measure:
        return _measure(other) / self

    def __ge__(self, other: Measure | float) -> Measure:
        return self._compared(other, np.greater_equal)

    def __gt__(self, other: Measure | float) -> Measure:
        return self._compared(other, np.greater)

    def __lt__(self, other: Measure | float) -> Measure:
        return self._compared(other, np.less)

    def _plus(self, other: Operand, op: Callable[[Array, Array], Array]) -> Measure:
        b = _measure(other)
        unit = np.minimum(self.unit, b.unit)
        return Measure(self.size + b.size, self.terms + b.terms, unit, lambda: op(self.of(), b.of()))

    def _compared(self, other: Measure | float, op: Callable[[Array, Array], Array]) -> Measure:
        """Either way, so 1 at most: a flip is excused by h, not here."""
        one = np.ones((1,) * np.ndim(self.size), np.float32)
        return Measure(one, one, one, lambda: op(self.of(), _measure(other).of()))


def _measure(value: Operand) -> Measure:
    return value if isinstance(value, Measure) else Measure.known(np.asarray(value, np.float32))


class Measuring:
    """What an equation may use beside arithmetic (runtime/core/model/neurons.py), for measures."""

    def spikes(self, fires: Measure) -> Measure:
        return fires

    def where(self, condition: Measure, a: Operand, b: Operand) -> Measure:
        """The larger of both, so that it does not matter which is chosen."""
        a, b = _measure(a), _measure(b)
        size, terms = np.maximum(a.size, b.size), np.maximum(a.terms, b.terms)
        unit = np.minimum(a.unit, b.unit)
        return Measure(size, terms, unit, lambda: np.where(condition.of(), a.of(), b.of()))

    def op(self, name: str, *operands: Operand) -> Measure:
        """An operation of a program (runtime.neurons.traced_program.program.OPS)."""
        values = [_measure(value) for value in operands]
        if name in RULES:
            return RULES[name](*values)
        if name in _DECIDE:
            one = np.ones((1,) * max(np.ndim(m.size) for m in values), np.float32)
            return Measure(one, one, one, lambda: FUNCTIONS[name](*(m.of() for m in values)))
        made = sensitive(FUNCTIONS[name], values)
        if name in ("Round", "Floor", "Ceil"):  # a whole number, where what is rounded is exact
            unit = np.where(values[0].bound() == 0, 1.0, 0.0)
            made = Measure(made.size, made.terms, unit, made.of)
        return made


def _kept(name: str) -> Callable[..., Measure]:
    """An operation whose result moves no further than the operand that moves most: the largest of them all."""

    def measure(*values: Measure) -> Measure:
        size, terms, unit = values[0].size, values[0].terms, values[0].unit
        for m in values[1:]:
            size, terms, unit = np.maximum(size, m.size), np.maximum(terms, m.terms), np.minimum(unit, m.unit)
        return Measure(size, terms, unit, lambda: FUNCTIONS[name](*(m.of() for m in values)))

    return measure


_DECIDE = ("Greater", "GreaterOrEqual", "Less", "Equal", "Not", "And", "Or")
RULES: dict[str, Callable[..., Measure]] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": lambda a, b: a / b,
    "Where": lambda c, a, b: Measuring().where(c, a, b),
    "Cast": lambda a: a,
    **{name: _kept(name) for name in ("Neg", "Abs", "Relu", "Min", "Max", "Clip", "Identity")},
}


def sensitive(function: Callable[..., Array], inputs: Sequence[Measure], rows: bool = False) -> Measure:
    """The measure of function(values), of which nothing is known: how far it moves when its inputs move by their bounds, four
    times over, and the rounding of a value of its size. With `rows` any output may come from all inputs of its row."""
    values = [np.asarray(m.of(), np.float64) for m in inputs]
    rng = np.random.default_rng(0)
    y = np.asarray(function(*values), np.float64)
    moved, terms = np.zeros_like(y), np.float32(max(np.max(m.terms) for m in inputs))
    for _ in range(4):
        nudged = [v + rng.choice((-1.0, 1.0), v.shape) * m.bound() for v, m in zip(values, inputs, strict=True)]
        moved = np.maximum(moved, np.abs(function(*nudged) - y))
    size = np.abs(y)
    if rows:
        axes = tuple(range(1, y.ndim))
        size, moved = (np.broadcast_to(part.max(axis=axes, keepdims=True), y.shape) for part in (size, moved))
        terms += np.float32(max(v[:1].size for v in values))
    size = (size + 4 * moved / (8 * EPS)).astype(np.float32)
    return Measure(size, np.full(y.shape, terms, np.float32), np.zeros(y.shape), lambda: y.astype(np.float32))
