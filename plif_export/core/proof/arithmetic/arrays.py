"""The NumPy backend of the golden model: the functions that operations and equations call, on arrays.

runtime/core/model/ops/operation.py and runtime/core/model/neurons.py define each function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import numpy as np

from runtime.core.model.ops.operation import reshape_broadcast, window_view

Array = np.ndarray
Sizes = Sequence[int]
WINDOW = 64  # numbers of a pooling window


class NumpyBackend:
    """The NumPy implementation of the math functions that operations and neuron equations call (backend `m`).

    Values are arrays [B, ...] and numbers, computed in `dtype`.
    """

    def __init__(self, dtype: type) -> None:
        self.dtype = np.dtype(dtype)

    # --- of equations -----------------------------------------------------------------------------------------------

    def spikes(self, fires: Array) -> Array:
        return np.asarray(fires, self.dtype)

    def where(self, condition: Array, a: Array | float, b: Array | float) -> Array:
        return np.asarray(np.where(condition, a, b))

    def op(self, name: str, *operands: Array | float) -> Array:
        """Apply one named math operation of a traced neuron program to NumPy arrays.

        runtime.neurons.traced_program.program.OPS lists the names.
        """
        values = [np.asarray(o, self.dtype) if isinstance(o, int | float) else o for o in operands]
        with np.errstate(all="ignore"):
            y = FUNCTIONS[name](*values)
        return y.astype(self.dtype) if name == "Cast" else y

    # --- of whole tensors -------------------------------------------------------------------------------------------

    def reshape(self, x: Array, shape: Sizes) -> Array:
        return x.reshape(len(x), *shape)

    def permute(self, x: Array, axes: Sizes) -> Array:
        return np.transpose(x, tuple(axes))

    def slice_axis(self, x: Array, axis: int, start: int, stop: int | None, step: int) -> Array:
        return x[tuple([slice(None)] * axis + [slice(start, stop, step)])]

    def concat(self, values: Sequence[Array], axis: int) -> Array:
        rows = max(len(part) for part in values)  # a Constant has one row, which all rows share
        return np.concatenate([np.broadcast_to(part, (rows, *part.shape[1:])) for part in values], axis=axis)

    def take(self, x: Array, axis: int, places: Callable[[int], Array]) -> Array:
        return x.take(places(x.shape[axis]), axis)

    def matmul_axis(self, x: Array, axis: int, matrix: Callable[[int], Array], name: object = None) -> Array:
        rows = matrix(x.shape[axis]).astype(x.dtype)
        return np.moveaxis(np.moveaxis(x, axis, -1) @ rows.T, -1, axis)

    def windows(
        self, x: Array, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: float = 0.0
    ) -> Array:
        if any(padding):
            x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)), constant_values=fill)
        return window_view(x, kernel, stride, dilation)

    def insert_zeros(self, x: Array, stride: Sizes, before: Sizes, after: Sizes) -> Array:
        sizes = list(zip(x.shape[2:], stride, before, after, strict=True))
        wide = [(n - 1) * s + 1 + max(b, 0) + max(a, 0) for n, s, b, a in sizes]
        y = np.zeros((*x.shape[:2], *wide), x.dtype)
        leading = [slice(None)] * 2
        y[tuple(leading + [slice(max(b, 0), max(b, 0) + (n - 1) * s + 1, s) for n, s, b, _ in sizes])] = x
        inside = [slice(max(-b, 0), w - max(-a, 0)) for w, (_, _, b, a) in zip(wide, sizes, strict=True)]
        return y[tuple(leading + inside)]

    def sum(self, x: Array, axes: Sizes, keep: bool = False) -> Array:
        return _restore_axes(x.sum(axis=tuple(axes), dtype=x.dtype), axes, keep)

    def mean(self, x: Array, axes: Sizes, keep: bool = False) -> Array:
        return _restore_axes(x.mean(axis=tuple(axes), dtype=x.dtype), axes, keep)

    def max(self, x: Array, axes: Sizes, keep: bool = False) -> Array:
        if keep or prod(x.shape[axis] for axis in axes) > WINDOW:
            return _restore_axes(x.max(axis=tuple(axes)), axes, keep)
        # NumPy reduces short axes one by one, tens of times slower than a maximum of whole arrays
        places = np.moveaxis(x, tuple(axes), tuple(range(len(axes))))
        return reduce(np.maximum, (places[i] for i in np.ndindex(*places.shape[: len(axes)])))

    def matmul(self, a: Array, b: Array) -> Array:
        return np.asarray(np.matmul(a, b))

    def linear(self, x: Array, weight: Array) -> Array:
        return np.asarray(x @ weight.T)

    def im2col_matmul(self, windows: Array, weight: Array, groups: int) -> Array:
        """Multiply the input windows of a convolution (im2col) by its weights, group by group.

        windows [B, I, ..., k...] and weight [O, I / groups, k...] -> [B, O, ...]
        """
        dims = weight.ndim - 2
        b, i, *places = windows.shape[: 2 + dims]
        windows = np.moveaxis(windows.reshape(b, groups, i // groups, *places, *weight.shape[2:]), 2, 2 + dims)
        windows = windows.reshape(b, groups, -1, weight[0].size)
        weight = weight.reshape(groups, len(weight) // groups, -1)
        return np.asarray((weight @ windows.swapaxes(-1, -2)).reshape(b, -1, *places))

    # --- reduced precision ------------------------------------------------------------------------------------------

    def to_counts(self, x: Array, area: int) -> Array:
        """Turn averages of spikes [B, ...] back into whole numbers of spikes, in float64 so that sums are exact."""
        return np.asarray(np.rint(x * x.dtype.type(area)), np.promote_types(self.dtype, np.float64))

    def real(self, sums: Array) -> Array:
        return sums.astype(self.dtype)

    def half(self, x: Array) -> Array:
        return x.astype(np.float16).astype(self.dtype)

    # --- parameters -------------------------------------------------------------------------------------------------

    def parameter(self, value: Array) -> Array:
        return np.asarray(value, self.dtype)

    def from_parameters(self, function: Callable[..., Array], *parameters: Array) -> Array:
        return np.asarray(function(*parameters))

    def rearrange(self, function: Callable[[Array], Array], parameter: Array) -> Array:
        return function(parameter)

    def broadcast_like(self, values: Array, shape: Sizes) -> Array:
        return broadcast_like(values, shape)

    def broadcast_trailing(self, values: Array, axes: int) -> Array:
        return values[None]


def _restore_axes(reduced: Array, axes: Sizes, keep: bool) -> Array:
    """Put axes that a sum or mean removed back with size 1, if `keep` is true.

    NumPy's type stubs accept only constants as keepdims.
    """
    return np.expand_dims(reduced, tuple(axes)) if keep else np.asarray(reduced)


def broadcast_like(values: Array, shape: Sizes) -> Array:
    """Reshape a parameter of a layer so that it broadcasts over [B, *shape].

    A number stays as it is; the others are one number for each neuron or for each channel.
    """
    return reshape_broadcast(values, shape)[None] if values.ndim else values


FUNCTIONS: dict[str, Callable[..., Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Min": np.minimum,
    "Max": np.maximum,
    "Neg": np.negative,
    "Abs": np.abs,
    "Relu": lambda x: np.maximum(x, 0),
    "Round": np.rint,  # half to even
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Identity": lambda x: x,
    "Exp": np.exp,
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "Sqrt": np.sqrt,
    "Log": np.log,
    "Clip": lambda x, low, high: np.minimum(np.maximum(x, low), high),
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "Equal": np.equal,
    "Not": np.logical_not,
    "And": np.logical_and,
    "Or": np.logical_or,
    "Where": np.where,
    "Cast": lambda x: x,
}
