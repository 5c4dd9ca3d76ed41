"""The shape rule of an operation: its meaning, called with shapes in the place of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from runtime.core.model.ops.operation import OPERATIONS, Node, Shape


class Misfit(Exception):
    """What does not fit, in half a sentence."""


def shape_of(node: Node, shapes: Sequence[Shape]) -> Shape:
    """The shape of the output of an operation, without the batch. Raises Misfit where inputs and parameters do not fit.

    node  its op, attrs and params, and the shape to which some operations go
    """
    meaning = OPERATIONS[node.op].meaning
    assert meaning is not None
    params = {key: _Sized(np.shape(value)) for key, value in node.params.items()}
    made: _Sized = meaning(_Shapes(), node, params, *(_Sized(shape) for shape in shapes))
    return made.shape


def shape_after(op: str, attrs: Mapping[str, object], params: Mapping[str, np.ndarray], shape: Shape) -> Shape:
    """The same of an operation with one input that a reader is about to enter, and that asks for no shape of its own."""
    return shape_of(Node("", op, ("x",), (0,) * len(shape), attrs, params), [shape])


class _Sized:
    """A value of which only the shape is known."""

    def __init__(self, shape: Iterable[int]) -> None:
        self.shape = tuple(int(n) for n in shape)

    def _joined(self, other: Any) -> _Sized:
        try:
            return _Sized(np.broadcast_shapes(self.shape, other.shape if isinstance(other, _Sized) else ()))
        except ValueError:
            raise Misfit(f"joins {list(self.shape)} and {list(other.shape)}") from None

    __add__ = __sub__ = __mul__ = __truediv__ = _joined


class _Shapes:
    """The argument `m` of a meaning (operation.py)."""

    def op(self, name: str, x: _Sized) -> _Sized:
        return x

    def reshape(self, x: _Sized, shape: Sequence[int]) -> _Sized:
        _require(prod(shape) == prod(x.shape), f"makes {list(shape)} of {list(x.shape)}")
        return _Sized(shape)

    def permute(self, x: _Sized, axes: Sequence[int]) -> _Sized:
        _require(
            sorted(axes) == list(range(1 + len(x.shape))) and axes[0] == 0,
            f"moves axes {list(axes)} of {list(x.shape)}",
        )
        return _Sized(x.shape[axis - 1] for axis in axes[1:])

    def part(self, x: _Sized, axis: int, start: int, stop: int | None, step: int) -> _Sized:
        return self._changed(x, axis, lambda n: len(range(n)[start:stop:step]))

    def concat(self, values: Sequence[_Sized], axis: int) -> _Sized:
        others = {self._changed(value, axis, lambda n: 0).shape for value in values}
        _require(len(others) == 1, f"puts {[list(value.shape) for value in values]} side by side")
        return self._changed(values[0], axis, lambda n: sum(value.shape[axis - 1] for value in values))

    def take(self, x: _Sized, axis: int, places: Callable[[int], np.ndarray]) -> _Sized:
        return self._changed(x, axis, lambda n: len(places(n)))

    def along(self, x: _Sized, axis: int, matrix: Callable[[int], np.ndarray], name: object = None) -> _Sized:
        return self._changed(x, axis, lambda n: len(matrix(n)))

    def _changed(self, x: _Sized, axis: int, size: Callable[[int], int]) -> _Sized:
        _require(0 < axis <= len(x.shape), f"works along axis {axis} of {list(x.shape)}")
        return _Sized((*x.shape[: axis - 1], size(x.shape[axis - 1]), *x.shape[axis:]))

    def windows(self, x: _Sized, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, fill: float) -> _Sized:
        channels, *sizes = x.shape
        _require(len(sizes) == len(kernel), f"has a kernel {list(kernel)} on {list(x.shape)}")
        places = zip(sizes, kernel, stride, padding, dilation, strict=True)
        out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in places]
        _require(min(out) > 0, f"has a kernel {list(kernel)} on {list(x.shape)}")
        return _Sized((channels, *out, *kernel))

    def spread(self, x: _Sized, stride: Shape, before: Shape, after: Shape) -> _Sized:
        channels, *sizes = x.shape
        _require(len(sizes) == len(stride), f"has a kernel of {len(stride)} axes on {list(x.shape)}")
        return _Sized(
            (channels, *((n - 1) * s + 1 + b + a for n, s, b, a in zip(sizes, stride, before, after, strict=True)))
        )

    def sum(self, x: _Sized, axes: Sequence[int], keep: bool = False) -> _Sized:
        return _Sized(1 if i in axes else n for i, n in enumerate(x.shape, 1) if keep or i not in axes)

    mean = max = sum

    def matmul(self, a: _Sized, b: _Sized) -> _Sized:
        _require(a.shape[-1] == b.shape[-2], f"multiplies {list(a.shape)} and {list(b.shape)}")
        return _Sized((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))

    def linear(self, x: _Sized, weight: _Sized) -> _Sized:
        fits = len(weight.shape) == 2 and weight.shape[1] == x.shape[-1]
        _require(fits, f"has weights {list(weight.shape)} on {list(x.shape)}")
        return _Sized((*x.shape[:-1], weight.shape[0]))

    def weighed(self, windows: _Sized, weight: _Sized, groups: int) -> _Sized:
        (outputs, inputs, *kernel), channels = weight.shape, windows.shape[0]
        fits = inputs * groups == channels and outputs % groups == 0
        _require(fits, f"has weights {list(weight.shape)} in {groups} groups on {channels} channels")
        return _Sized((outputs, *windows.shape[1 : len(windows.shape) - len(kernel)]))

    def counts(self, x: _Sized, area: int) -> _Sized:
        return x

    def real(self, x: _Sized) -> _Sized:
        return x

    half = real

    def parameter(self, value: np.ndarray) -> _Sized:
        return _Sized(np.shape(value))

    def once(self, function: Callable[..., np.ndarray], *parameters: _Sized) -> _Sized:
        return _Sized(np.shape(function(*(np.ones(p.shape, np.float32) for p in parameters))))

    arranged = once

    def beside(self, p: _Sized, shape: Sequence[int]) -> _Sized:
        each = len(p.shape) == len(shape) > 1
        return p if each or not p.shape else _Sized((*p.shape, *(1,) * (len(shape) - 1)))

    def trailing(self, p: _Sized, axes: int) -> _Sized:
        return p


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise Misfit(text)
