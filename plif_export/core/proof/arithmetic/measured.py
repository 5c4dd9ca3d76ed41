"""What rounding can do to what an operation of the graph makes: meanings (runtime/core/model/ops), called with measures.

Sizes and terms go where the values go; a sum adds them up, and a mean divides sizes. The unit of a whole tensor is that of its
smallest element. A parameter counts as one term, and what is made of parameters alone is rounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np

from plif_export.core.proof.arithmetic.arrays import Array, Numpy, Sizes
from plif_export.core.proof.arithmetic.measure import Measure, Measuring, lowest_unit

NUMPY = Numpy(np.float32)
ONE_TERM = np.asarray(1, np.float32)


def _spread_out(m: Measure) -> Measure:
    if m.terms.shape == m.size.shape:
        return m
    return Measure(m.size, np.broadcast_to(m.terms, m.size.shape), m.unit, m.of)


def _moved(go: Callable[..., Array], *inputs: Measure) -> Measure:
    whole = [_spread_out(m) for m in inputs]
    unit, size = np.asarray(min(m.one_unit for m in whole)), go(*(m.size for m in whole))
    terms = size if all(m.size is m.terms for m in whole) else go(*(m.terms for m in whole))
    return Measure(size, terms, unit, whole[0].of)


def _as_in_numpy(name: str) -> Callable[..., Measure]:
    """A method that moves or adds up sizes and terms as NumPy's backend does it with values."""

    def method(self: object, x: Measure, *where: object, **more: object) -> Measure:
        return _moved(lambda part: getattr(NUMPY, name)(part, *where, **more), x)

    return method


class MeasuringTensors(Measuring):
    """The argument `m` of a meaning. `of` of a measure is not kept here: whoever asks for a bound knows the values."""

    def parameter(self, value: Array) -> Measure:
        value = np.asarray(value, np.float32)
        return Measure(np.abs(value), ONE_TERM, np.asarray(lowest_unit(value)), lambda: value)

    def once(self, function: Callable[..., Array], *parameters: Measure) -> Measure:
        value = np.asarray(function(*(p.of() for p in parameters)), np.float32)
        return Measure(np.abs(value), ONE_TERM, np.asarray(0.0), lambda: value)

    def arranged(self, function: Callable[[Array], Array], parameter: Measure) -> Measure:
        value = function(parameter.of())
        return Measure(np.abs(value), ONE_TERM, parameter.unit, lambda: value)

    def beside(self, p: Measure, shape: Sizes) -> Measure:
        return Measure(NUMPY.beside(p.size, shape), p.terms, p.unit, p.of)

    def trailing(self, p: Measure, axes: int) -> Measure:
        return Measure(NUMPY.trailing(p.size, axes), p.terms, p.unit, p.of)

    # --- moved ------------------------------------------------------------------------------------------------------

    reshape, permute, part, take, spread = map(_as_in_numpy, ("reshape", "permute", "part", "take", "spread"))
    max, sum = _as_in_numpy("max"), _as_in_numpy("sum")

    def concat(self, values: Sequence[Measure], axis: int) -> Measure:
        return _moved(lambda *parts: NUMPY.concat(parts, axis), *values)

    def windows(self, x: Measure, *where: Sizes | float) -> Measure:
        """The padding adds nothing, whatever it is filled with."""
        return _as_in_numpy("windows")(self, x, *where[:4])

    # --- added up ---------------------------------------------------------------------------------------------------

    def mean(self, x: Measure, axes: Sizes, keep: bool = False) -> Measure:
        area = prod(x.size.shape[axis] for axis in axes)
        added = self.sum(x, axes, keep)
        unit = added.unit / area if area & (area - 1) == 0 else np.asarray(0.0)
        return Measure(NUMPY.mean(x.size, axes, keep), added.terms, unit, x.of)

    def matmul(self, a: Measure, b: Measure) -> Measure:
        """A term for each pair of which neither is zero."""
        whole = [_spread_out(m) for m in (a, b)]
        once = [np.minimum(m.terms, 1) for m in whole]
        terms = np.matmul(whole[0].terms, once[1]) + np.matmul(once[0], whole[1].terms)
        most = a.size.shape[-1] * (whole[0].terms.max() + whole[1].terms.max())
        unit = np.asarray(a.one_unit * b.one_unit)
        return Measure(np.matmul(a.size, b.size), np.minimum(terms, most), unit, a.of)

    def linear(self, x: Measure, weight: Measure) -> Measure:
        terms = _spread_out(x).terms.sum(axis=-1, keepdims=True)
        size = NUMPY.linear(x.size, weight.size)
        return Measure(size, np.broadcast_to(terms, size.shape), np.asarray(x.one_unit * weight.one_unit), x.of)

    def weighed(self, windows: Measure, weight: Measure, groups: int) -> Measure:
        """A term for each input that is not zero and that the weights can reach."""
        outputs, *rest = weight.size.shape
        reached = NUMPY.weighed(_spread_out(windows).terms, np.ones((groups, *rest), np.float32), groups)
        size = NUMPY.weighed(windows.size, weight.size, groups)
        terms = reached.repeat(outputs // groups, axis=1)
        return Measure(size, terms, np.asarray(windows.one_unit * weight.one_unit), windows.of)

    # --- reduced precision, whose rounding the graph says -----------------------------------------------------------

    def counts(self, x: Measure, area: int) -> Measure:
        return Measure(x.size * np.float32(area), x.terms, x.unit * area, x.of)

    def real(self, sums: Measure) -> Measure:
        return sums

    def half(self, x: Measure) -> Measure:
        return x
