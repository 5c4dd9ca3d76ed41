"""Measures: what rounding can do to a value; arithmetic on measures follows the arithmetic of the values.

A value is a sum of terms. Its measure has

    S   size    the sum of |terms|: rounding grows with the terms, even if they cancel
    n   terms   the number of terms that are not zero
    u   unit    a power of two that all terms are multiples of; 0 if none is known

    bound = 2 sqrt(2 n + 16) 2^-24 S     the largest difference of two float32 programs
    bound = 0          where S < 2^23 u   every partial sum, in any order, is then a float32 itself

(2^24 u would do; S itself is rounded.) A factor preserves this only if it is a power of two. Other factors are
rounded where a file stores 1 / alpha for alpha, or alpha W for W.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Union

import numpy as np

from plif_export.core.proof.arithmetic.arrays import FUNCTIONS, Array

EPS = 2.0**-24  # float32 rounds by a relative half of 2^-23
WHOLE = 2.0**100  # the unit of 0, which is a multiple of everything
BLOCK = 2**15  # values of one block, which stay in the processor's cache
FLUSHED = 1e-37  # engines flush smaller numbers to 0
Operand = Union["Measure", Array, float]


def lowest_bit(values: Array) -> Array:
    """Return the largest power of two of which each float32 value [...] is a multiple, in float64.

    WHOLE for 0; 0 for NaN, infinities and numbers so small that engines flush them.
    """
    values = np.asarray(values, np.float32).astype(np.float64)
    digits, exponent = np.frexp(np.where(np.isfinite(values), values, 0))
    mantissa = (digits * 2.0**24).astype(np.int64)
    bit = np.ldexp((mantissa & -mantissa).astype(np.float64), exponent - 24)
    return np.where(values == 0, WHOLE, np.where(np.isfinite(values) & (bit > FLUSHED), bit, 0))


def lowest_unit(values: Array) -> float:
    """Return the largest power of two of which all values [...] of an array are multiples.

    The array is processed in blocks that fit the processor's cache.
    """
    flat = np.asarray(values, np.float32).reshape(-1)
    return min((float(lowest_bit(flat[i : i + BLOCK]).min()) for i in range(0, flat.size, BLOCK)), default=WHOLE)


def power_of_two(values: Array) -> Array:
    """Return each factor's |value| if it is a power of two, WHOLE (any unit) if it is 0, else 0 (no unit)."""
    bit = lowest_bit(values)
    return np.where((bit == np.abs(values)) | (bit == WHOLE), bit, 0)


@dataclass(frozen=True, eq=False)
class Measure:
    """The size, number of terms and common unit of a sum, from which its float32 rounding error is bounded.

    size and terms float32 [B, ...], unit float64, each broadcasting with the value; of() computes the value, which
    only functions without a rule need.
    """

    size: Array
    terms: Array
    unit: Array
    of: Callable[[], Array]

    @classmethod
    def from_values(cls, values: Array, factor: bool = False) -> Measure:
        """Return the rounding-error bound of values that every program has exactly: inputs, states and numbers.

        factor  True: the values are parameters
        """
        size = np.abs(values).astype(np.float32)
        terms = np.float32(0) if factor else (values != 0).astype(np.float32)
        unit = power_of_two(values) if factor else lowest_bit(values)
        return cls(size, np.asarray(terms), unit, lambda: values)

    @classmethod
    def from_spikes(cls, spikes: Array) -> Measure:
        """Return the rounding-error bound of spikes 0 and 1: their size and their number of terms are one array."""
        size = spikes.astype(np.float32)
        return cls(size, size, np.where(spikes != 0, 1.0, WHOLE), lambda: spikes)

    @property
    def common_unit(self) -> float:
        """The largest power of two of which all elements of a measured value are multiples."""
        return float(np.min(self.unit))

    def bound(self, half: float = 0.0, exact: bool = True) -> Array:
        """Return the largest difference by rounding between two programs' sums, float64 [...]; 0 if not finite.

        half   a further relative rounding, of an engine that has float16 kernels
        exact  False: treat exact sums as inexact
        """
        size = self.size.astype(np.float64)
        bound = 2 * np.sqrt(2 * self.terms + 16) * EPS * size + FLUSHED + half * size
        if exact and not half:
            bound = np.where((size < 2.0**23 * self.unit) & (self.unit > FLUSHED), 0, bound)
        return np.where(np.isfinite(bound), bound, 0)

    def __add__(self, b: Operand) -> Measure:
        return self._add_measures(b, np.add)

    def __sub__(self, b: Operand) -> Measure:
        return self._add_measures(b, np.subtract)

    def __mul__(self, operand: Operand) -> Measure:
        b = _as_measure(operand)
        return Measure(
            self.size * b.size, self.terms + b.terms, self.unit * b.unit, lambda: np.multiply(self.of(), b.of())
        )

    def __truediv__(self, operand: Operand) -> Measure:
        b = _as_measure(operand)
        value = np.abs(b.of())
        unit = np.where(b.unit == value, self.unit / b.size, 0)  # size / |b|: the share of b's terms that cancels
        size = self.size / value * (b.size / value)
        return Measure(size, self.terms + b.terms, unit, lambda: np.divide(self.of(), b.of()))

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, b: Operand) -> Measure:
        return _as_measure(b) - self

    def __rtruediv__(self, b: Operand) -> Measure:
        return _as_measure(b) / self

    def __ge__(self, b: Measure | float) -> Measure:
        return self._compare(b, np.greater_equal)

    def __gt__(self, b: Measure | float) -> Measure:
        return self._compare(b, np.greater)

    def __lt__(self, b: Measure | float) -> Measure:
        return self._compare(b, np.less)

    def _add_measures(self, operand: Operand, op: Callable[[Array, Array], Array]) -> Measure:
        b = _as_measure(operand)
        unit = np.minimum(self.unit, b.unit)
        return Measure(self.size + b.size, self.terms + b.terms, unit, lambda: op(self.of(), b.of()))

    def _compare(self, operand: Measure | float, op: Callable[[Array, Array], Array]) -> Measure:
        """Return the rounding-error bound of a comparison's result, which is 0 or 1 however its operands are rounded.

        The bound of h excuses a flipped decision, not this measure.
        """
        unit = np.ones((1,) * np.ndim(self.size), np.float32)
        return Measure(unit, unit, unit, lambda: op(self.of(), _as_measure(operand).of()))


def _as_measure(value: Operand) -> Measure:
    return value if isinstance(value, Measure) else Measure.from_values(np.asarray(value, np.float32))


class MeasureMath:
    """The math functions of neuron equations, applied to rounding-error bounds in place of values."""

    def spikes(self, fires: Measure) -> Measure:
        return fires

    def where(self, condition: Measure, a: Operand, b: Operand) -> Measure:
        """Return a rounding-error bound that holds for both branches of a choice, whichever is taken."""
        a, b = _as_measure(a), _as_measure(b)
        size, terms = np.maximum(a.size, b.size), np.maximum(a.terms, b.terms)
        unit = np.minimum(a.unit, b.unit)
        return Measure(size, terms, unit, lambda: np.where(condition.of(), a.of(), b.of()))

    def op(self, name: str, *operands: Operand) -> Measure:
        """Return the rounding-error bound of one named math operation of a traced neuron program.

        runtime.neurons.traced_program.program.OPS lists the names.
        """
        values = [_as_measure(value) for value in operands]
        if name in RULES:
            return RULES[name](*values)
        if name in _DECIDE:
            ones = np.ones((1,) * max(np.ndim(m.size) for m in values), np.float32)
            return Measure(ones, ones, ones, lambda: FUNCTIONS[name](*(m.of() for m in values)))
        m_out = measure_by_moving(FUNCTIONS[name], values)
        if name in ("Round", "Floor", "Ceil"):  # a whole number if the rounded value is exact
            unit = np.where(values[0].bound() == 0, 1.0, 0.0)
            m_out = Measure(m_out.size, m_out.terms, unit, m_out.of)
        return m_out


def _max_rule(name: str) -> Callable[..., Measure]:
    """Return a rounding rule for operations whose error is at most the largest error of an operand."""

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
    "Where": lambda c, a, b: MeasureMath().where(c, a, b),
    "Cast": lambda a: a,
    **{name: _max_rule(name) for name in ("Neg", "Abs", "Relu", "Min", "Max", "Clip", "Identity")},
}


def measure_by_moving(function: Callable[..., Array], inputs: Sequence[Measure], rows: bool = False) -> Measure:
    """Estimate the rounding error of a function by calling it with inputs moved by their error bounds.

    The function is evaluated four times at moved inputs; the rounding of a value of its size is added. With `rows`,
    any output may depend on all inputs of its row.
    """
    values = [np.asarray(m.of(), np.float64) for m in inputs]
    rng = np.random.default_rng(0)
    y = np.asarray(function(*values), np.float64)
    moved, terms = np.zeros_like(y), np.float32(max(np.max(m.terms) for m in inputs))
    for _ in range(4):
        moved_inputs = [v + rng.choice((-1.0, 1.0), v.shape) * m.bound() for v, m in zip(values, inputs, strict=True)]
        moved = np.maximum(moved, np.abs(function(*moved_inputs) - y))
    size = np.abs(y)
    if rows:
        axes = tuple(range(1, y.ndim))
        size, moved = (np.broadcast_to(part.max(axis=axes, keepdims=True), y.shape) for part in (size, moved))
        terms += np.float32(max(v[:1].size for v in values))
    size = (size + 4 * moved / (8 * EPS)).astype(np.float32)
    return Measure(size, np.full(y.shape, terms, np.float32), np.zeros(y.shape), lambda: y.astype(np.float32))
