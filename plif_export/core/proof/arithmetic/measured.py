"""The rounding-error bounds of graph operations: their meanings (runtime/core/model/ops), called with measures.

Sizes and terms move with the values; a sum adds them up, and a mean divides sizes. The unit of a whole tensor is that
of its smallest element. A parameter counts as one term, and a value that is computed from parameters alone is
rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from plif_export.core.proof.arithmetic.arrays import Array, NumpyBackend, Sizes
from plif_export.core.proof.arithmetic.measure import Measure, MeasureMath, lowest_unit

NUMPY = NumpyBackend(np.float32)
ONE_TERM = np.asarray(1, np.float32)


def _expand_terms(m: Measure) -> Measure:
    if m.terms.shape == m.size.shape:
        return m
    return Measure(m.size, np.broadcast_to(m.terms, m.size.shape), m.unit, m.of)


def _move_measures(move: Callable[..., Array], *inputs: Measure) -> Measure:
    expanded = [_expand_terms(m) for m in inputs]
    unit, size = np.asarray(min(m.common_unit for m in expanded)), move(*(m.size for m in expanded))
    terms = size if all(m.size is m.terms for m in expanded) else move(*(m.terms for m in expanded))
    return Measure(size, terms, unit, expanded[0].of)


def _follow_numpy(name: str) -> Callable[..., Measure]:
    """Return a method that applies an operation of the NumPy backend to the fields of a rounding-error bound."""

    def method(self: object, x: Measure, *args: object, **options: object) -> Measure:
        return _move_measures(lambda part: getattr(NUMPY, name)(part, *args, **options), x)

    return method


class MeasureBackend(MeasureMath):
    """The math functions that graph operations call (backend `m`), applied to rounding-error bounds in place of values.

    The function `of` of a measure is not updated here: the caller of a bound knows the values.
    """

    def parameter(self, value: Array) -> Measure:
        value = np.asarray(value, np.float32)
        return Measure(np.abs(value), ONE_TERM, np.asarray(lowest_unit(value)), lambda: value)

    def from_parameters(self, function: Callable[..., Array], *parameters: Measure) -> Measure:
        value = np.asarray(function(*(p.of() for p in parameters)), np.float32)
        return Measure(np.abs(value), ONE_TERM, np.asarray(0.0), lambda: value)

    def rearrange(self, function: Callable[[Array], Array], parameter: Measure) -> Measure:
        value = function(parameter.of())
        return Measure(np.abs(value), ONE_TERM, parameter.unit, lambda: value)

    def broadcast_like(self, p: Measure, shape: Sizes) -> Measure:
        return Measure(NUMPY.broadcast_like(p.size, shape), p.terms, p.unit, p.of)

    def broadcast_trailing(self, p: Measure, axes: int) -> Measure:
        return Measure(NUMPY.broadcast_trailing(p.size, axes), p.terms, p.unit, p.of)

    # --- moved ------------------------------------------------------------------------------------------------------

    reshape, permute, slice_axis, take, insert_zeros = map(
        _follow_numpy, ("reshape", "permute", "slice_axis", "take", "insert_zeros")
    )
    max, sum = _follow_numpy("max"), _follow_numpy("sum")

    def concat(self, values: Sequence[Measure], axis: int) -> Measure:
        return _move_measures(lambda *parts: NUMPY.concat(parts, axis), *values)

    def windows(self, x: Measure, *geometry: Sizes | float) -> Measure:
        """Return the rounding-error bounds of a convolution's input windows (im2col); padding adds no error."""
        return _follow_numpy("windows")(self, x, *geometry[:4])

    # --- added up ---------------------------------------------------------------------------------------------------

    def mean(self, x: Measure, axes: Sizes, keep: bool = False) -> Measure:
        area = prod(x.size.shape[axis] for axis in axes)
        total = self.sum(x, axes, keep)
        unit = total.unit / area if area & (area - 1) == 0 else np.asarray(0.0)
        return Measure(NUMPY.mean(x.size, axes, keep), total.terms, unit, x.of)

    def matmul(self, a: Measure, b: Measure) -> Measure:
        """Bound the rounding of a matrix product, in which each pair of nonzero operands is one term of a sum."""
        operands = [_expand_terms(m) for m in (a, b)]
        binary = [np.minimum(m.terms, 1) for m in operands]
        terms = np.matmul(operands[0].terms, binary[1]) + np.matmul(binary[0], operands[1].terms)
        most = a.size.shape[-1] * (operands[0].terms.max() + operands[1].terms.max())
        unit = np.asarray(a.common_unit * b.common_unit)
        return Measure(np.matmul(a.size, b.size), np.minimum(terms, most), unit, a.of)

    def linear(self, x: Measure, weight: Measure) -> Measure:
        terms = _expand_terms(x).terms.sum(axis=-1, keepdims=True)
        size = NUMPY.linear(x.size, weight.size)
        return Measure(size, np.broadcast_to(terms, size.shape), np.asarray(x.common_unit * weight.common_unit), x.of)

    def im2col_matmul(self, windows: Measure, weight: Measure, groups: int) -> Measure:
        """Bound the rounding of a convolution's sums, in which each nonzero input reached is one term."""
        outputs, *kernel = weight.size.shape
        reached = NUMPY.im2col_matmul(_expand_terms(windows).terms, np.ones((groups, *kernel), np.float32), groups)
        size = NUMPY.im2col_matmul(windows.size, weight.size, groups)
        terms = reached.repeat(outputs // groups, axis=1)
        return Measure(size, terms, np.asarray(windows.common_unit * weight.common_unit), windows.of)

    # --- reduced precision, with rounding given by the graph -----------------------------------------------------------

    def to_counts(self, x: Measure, area: int) -> Measure:
        return Measure(x.size * np.float32(area), x.terms, x.unit * area, x.of)

    def real(self, sums: Measure) -> Measure:
        return sums

    def half(self, x: Measure) -> Measure:
        return x
