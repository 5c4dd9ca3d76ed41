"""The shape rule of an operation: its meaning, called with shapes instead of values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from math import prod
from typing import Any

import numpy as np

from runtime.core.model.ops.operation import OPERATIONS, Node, Shape


class ShapeMismatch(Exception):
    """The error that inputs and parameters of an operation do not fit; the message is half a sentence."""


def infer_shape(node: Node, shapes: Sequence[Shape]) -> Shape:
    """Infer the shape of an operation's output, without the batch. Raises ShapeMismatch if the inputs do not fit.

    node  its op, attrs and params, and the target shape of some operations
    """
    meaning = OPERATIONS[node.op].meaning
    assert meaning is not None
    params = {key: _ShapeOnly(np.shape(value)) for key, value in node.params.items()}
    output: _ShapeOnly = meaning(_ShapeBackend(), node, params, *(_ShapeOnly(shape) for shape in shapes))
    return output.shape


def infer_unary_shape(op: str, attrs: Mapping[str, object], params: Mapping[str, np.ndarray], shape: Shape) -> Shape:
    """Infer the output shape of an operation with one input, from its attributes and parameters.

    The operation must not need a target shape.
    """
    return infer_shape(Node("", op, ("x",), (0,) * len(shape), attrs, params), [shape])


class _ShapeOnly:
    """A value that has a shape but no numbers."""

    def __init__(self, shape: Iterable[int]) -> None:
        self.shape = tuple(int(n) for n in shape)

    def _broadcast(self, operand: Any) -> _ShapeOnly:
        try:
            return _ShapeOnly(np.broadcast_shapes(self.shape, operand.shape if isinstance(operand, _ShapeOnly) else ()))
        except ValueError:
            raise ShapeMismatch(f"joins {list(self.shape)} and {list(operand.shape)}") from None

    __add__ = __sub__ = __mul__ = __truediv__ = _broadcast


class _ShapeBackend:
    """The Backend (operation.py) that computes only the shapes of a graph operation."""

    def op(self, name: str, x: _ShapeOnly, *operands: _ShapeOnly) -> _ShapeOnly:
        return reduce(_ShapeOnly._broadcast, operands, x)

    def reshape(self, x: _ShapeOnly, shape: Sequence[int]) -> _ShapeOnly:
        _require(prod(shape) == prod(x.shape), f"makes {list(shape)} of {list(x.shape)}")
        return _ShapeOnly(shape)

    def permute(self, x: _ShapeOnly, axes: Sequence[int]) -> _ShapeOnly:
        _require(
            sorted(axes) == list(range(1 + len(x.shape))) and axes[0] == 0,
            f"moves axes {list(axes)} of {list(x.shape)}",
        )
        return _ShapeOnly(x.shape[axis - 1] for axis in axes[1:])

    def slice_axis(self, x: _ShapeOnly, axis: int, start: int, stop: int | None, step: int) -> _ShapeOnly:
        return self._resize_axis(x, axis, lambda n: len(range(n)[start:stop:step]))

    def concat(self, values: Sequence[_ShapeOnly], axis: int) -> _ShapeOnly:
        shapes = {self._resize_axis(value, axis, lambda n: 0).shape for value in values}
        _require(len(shapes) == 1, f"puts {[list(value.shape) for value in values]} side by side")
        return self._resize_axis(values[0], axis, lambda n: sum(value.shape[axis - 1] for value in values))

    def take(self, x: _ShapeOnly, axis: int, places: Callable[[int], np.ndarray]) -> _ShapeOnly:
        return self._resize_axis(x, axis, lambda n: len(places(n)))

    def matmul_axis(
        self, x: _ShapeOnly, axis: int, matrix: Callable[[int], np.ndarray], name: object = None
    ) -> _ShapeOnly:
        return self._resize_axis(x, axis, lambda n: len(matrix(n)))

    def _resize_axis(self, x: _ShapeOnly, axis: int, size: Callable[[int], int]) -> _ShapeOnly:
        _require(0 < axis <= len(x.shape), f"works along axis {axis} of {list(x.shape)}")
        return _ShapeOnly((*x.shape[: axis - 1], size(x.shape[axis - 1]), *x.shape[axis:]))

    def windows(
        self, x: _ShapeOnly, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape, fill: float
    ) -> _ShapeOnly:
        channels, *sizes = x.shape
        _require(len(sizes) == len(kernel), f"has a kernel {list(kernel)} on {list(x.shape)}")
        places = zip(sizes, kernel, stride, padding, dilation, strict=True)
        out = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in places]
        _require(min(out) > 0, f"has a kernel {list(kernel)} on {list(x.shape)}")
        return _ShapeOnly((channels, *out, *kernel))

    def insert_zeros(self, x: _ShapeOnly, stride: Shape, before: Shape, after: Shape) -> _ShapeOnly:
        channels, *sizes = x.shape
        _require(len(sizes) == len(stride), f"has a kernel of {len(stride)} axes on {list(x.shape)}")
        return _ShapeOnly(
            (channels, *((n - 1) * s + 1 + b + a for n, s, b, a in zip(sizes, stride, before, after, strict=True)))
        )

    def sum(self, x: _ShapeOnly, axes: Sequence[int], keep: bool = False) -> _ShapeOnly:
        return _ShapeOnly(1 if i in axes else n for i, n in enumerate(x.shape, 1) if keep or i not in axes)

    mean = max = sum

    def matmul(self, a: _ShapeOnly, b: _ShapeOnly) -> _ShapeOnly:
        _require(a.shape[-1] == b.shape[-2], f"multiplies {list(a.shape)} and {list(b.shape)}")
        return _ShapeOnly((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]))

    def linear(self, x: _ShapeOnly, weight: _ShapeOnly) -> _ShapeOnly:
        fits = len(weight.shape) == 2 and weight.shape[1] == x.shape[-1]
        _require(fits, f"has weights {list(weight.shape)} on {list(x.shape)}")
        return _ShapeOnly((*x.shape[:-1], weight.shape[0]))

    def im2col_matmul(self, windows: _ShapeOnly, weight: _ShapeOnly, groups: int) -> _ShapeOnly:
        (outputs, inputs, *kernel), channels = weight.shape, windows.shape[0]
        fits = inputs * groups == channels and outputs % groups == 0
        _require(fits, f"has weights {list(weight.shape)} in {groups} groups on {channels} channels")
        return _ShapeOnly((outputs, *windows.shape[1 : len(windows.shape) - len(kernel)]))

    def to_counts(self, x: _ShapeOnly, area: int) -> _ShapeOnly:
        return x

    def real(self, x: _ShapeOnly) -> _ShapeOnly:
        return x

    half = real

    def parameter(self, value: np.ndarray) -> _ShapeOnly:
        return _ShapeOnly(np.shape(value))

    def from_parameters(self, function: Callable[..., np.ndarray], *parameters: _ShapeOnly) -> _ShapeOnly:
        return _ShapeOnly(np.shape(function(*(np.ones(p.shape, np.float32) for p in parameters))))

    rearrange = from_parameters

    def broadcast_like(self, p: _ShapeOnly, shape: Sequence[int]) -> _ShapeOnly:
        is_full = len(p.shape) == len(shape) > 1
        return p if is_full or not p.shape else _ShapeOnly((*p.shape, *(1,) * (len(shape) - 1)))

    def broadcast_trailing(self, p: _ShapeOnly, axes: int) -> _ShapeOnly:
        return p


def _require(holds: bool, text: str) -> None:
    if not holds:
        raise ShapeMismatch(text)
