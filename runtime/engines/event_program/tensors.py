"""Operations without a kernel of their own, on views of the arena.

Their meaning is in runtime/core/model/ops/operation.py. Moving axes, parts and windows make other views. Arithmetic
stays an expression until another operation needs its result, and is then one operation TENSOR; sums are REDUCE,
products PRODUCT. Results have the layout of the engine's maps, so that every other operation can read them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import SupportsFloat

import numpy as np

from runtime import native
from runtime.core.model.ops.operation import reshape_broadcast, selection_matrix, window_view
from runtime.core.model.records import NodeRecord
from runtime.core.model.symbol import Symbol, SymbolicMath, tensor_symbol
from runtime.engines.event_program.assemble import Key, assemble
from runtime.engines.event_program.builder import Fields
from runtime.engines.event_program.values import Values
from runtime.engines.event_program.views import Array, Sizes, View, Views, reshape_view

MOST_MATRIX = 1 << 26  # numbers of the matrix that resizes an axis


class Tensor:
    """A value [*shape] of the network for the event engine: a view of memory, or an expression of views."""

    def __init__(self, m: Tensors, shape: Sizes, symbol: Symbol) -> None:
        self.m, self.shape, self.symbol = m, tuple(shape), symbol

    def __add__(self, value: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a + b, self, value)

    def __sub__(self, value: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a - b, self, value)

    def __mul__(self, value: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a * b, self, value)

    def __truediv__(self, value: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a / b, self, value)


class Tensors:
    """The tensor operations that the event engine offers to the meaning of one node, its argument `m`.

    Shapes and axes are those of Backend: axes count the batch, shapes do not.
    """

    def __init__(self, b: Views, node: NodeRecord) -> None:
        self.b, self.node = b, node
        self.views: dict[str, View] = {}  # by the names of symbols
        self.math = SymbolicMath()

    def of(self, view: View) -> Tensor:
        """Wrap a view [*shape] of memory as a value."""
        name = f"view {len(self.views)}"
        self.views[name] = view
        return Tensor(self, view.shape, tensor_symbol(name))

    def view(self, x: Tensor) -> View:
        """Return the memory view of a value [*shape]; an expression is computed into new memory first."""
        if x.symbol.name is None:
            room = self.b.reserve_map(x.shape)
            self.write(x, room)
            x.symbol = self.of(room).symbol
        return self.views[str(x.symbol.name)]

    # --- other views of the same ------------------------------------------------------------------------------------------

    def _moved(self, x: Tensor, move: Callable[[Array], Array]) -> Tensor:
        view = self.view(x)
        return self.of(view.moved(move(view.array)))

    def reshape(self, x: Tensor, shape: Sizes) -> Tensor:
        """Reshape a value [*shape] to `shape`, see Backend."""
        view = self.view(x)
        reshaped_view = reshape_view(view, shape)
        if reshaped_view is None:
            copy = self.b.reserve_row(view.shape)
            self.write(x, copy)
            reshaped_view = reshape_view(copy, shape)
            assert reshaped_view is not None
        return self.of(reshaped_view)

    def permute(self, x: Tensor, axes: Sizes) -> Tensor:
        """Permute the axes of a value [*shape], see Backend."""
        return self._moved(x, lambda a: a.transpose([axis - 1 for axis in axes[1:]]))

    def slice_axis(self, x: Tensor, axis: int, start: int, stop: int | None, step: int) -> Tensor:
        """Slice a value [*shape] along one axis, see Backend."""
        return self._moved(x, lambda a: a[_along(axis, slice(start, stop, step))])

    def windows(self, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: float) -> Tensor:
        """View a map [C, *space] as sliding windows, padded with `fill`, see Backend."""
        if any(padding):
            x = self._pad_map(x, fill, [(p, n, 1, p) for n, p in zip(x.shape[1:], padding, strict=True)])
        return self._moved(x, lambda a: window_view(a, kernel, stride, dilation))

    def insert_zeros(self, x: Tensor, stride: Sizes, before: Sizes, after: Sizes) -> Tensor:
        """Insert zeros between and around the cells of a map [C, *space], see Backend."""
        sizes = list(zip(x.shape[1:], stride, before, after, strict=True))
        wide = self._pad_map(x, 0.0, [(max(b, 0), n, s, max(a, 0)) for n, s, b, a in sizes])
        part = [slice(max(-b, 0), n - max(-a, 0)) for n, (_, _, b, a) in zip(wide.shape[1:], sizes, strict=True)]
        return self._moved(wide, lambda array: array[_of_space(part)])

    def _pad_map(self, x: Tensor, fill: float, axes: Sequence[tuple[int, int, int, int]]) -> Tensor:
        """Pad a map [C, *space] to a larger size: copy it into an array filled with `fill`.

        axes: for each axis of space (cells before the map, its size, the step between its cells, cells after it).
        """
        room = self.b.reserve_map((x.shape[0], *(b + (n - 1) * s + 1 + a for b, n, s, a in axes)))
        self.write(Tensor(self, room.shape, Symbol("Identity", (fill,))), room)
        part = [slice(b, b + (n - 1) * s + 1, s) for b, n, s, _ in axes]
        self.write(x, room.moved(room.array[_of_space(part)]))
        return self.of(room)

    def concat(self, values: Sequence[Tensor], axis: int) -> Tensor:
        """Concatenate values [*shape] along one axis, see Backend."""
        size = list(values[0].shape)
        size[axis - 1] = sum(value.shape[axis - 1] for value in values)
        room, start = self.b.reserve_map(size), 0
        for value in values:
            end = start + value.shape[axis - 1]
            self.write(value, room.moved(room.array[_along(axis, slice(start, end))]))
            start = end
        return self.of(room)

    # --- element by element -------------------------------------------------------------------------------------------------

    def _joined(self, by: Callable[..., Symbol], a: Tensor, b: Tensor | SupportsFloat) -> Tensor:
        if not isinstance(b, Tensor):
            return Tensor(self, a.shape, by(a.symbol, float(b)))
        shape = np.broadcast_shapes(a.shape, b.shape)
        for x in (a, b):
            if prod(x.shape) < prod(shape):
                self.view(x)  # computed once, and not for each place where it is repeated
        return Tensor(self, shape, by(a.symbol, b.symbol))

    def op(self, name: str, *values: Tensor) -> Tensor:
        """Apply an elementwise operation to values [*shape], see Backend."""
        shape = np.broadcast_shapes(*(x.shape for x in values))
        return Tensor(self, shape, self.math.op(name, *(x.symbol for x in values)))

    def write(self, x: Tensor, to: View) -> None:
        """Compute a value into a view of its shape, or of a shape over which it is repeated (TENSOR)."""
        views: dict[str, View] = {}

        def leaf(name: str) -> Key:
            views.setdefault(name, self.views[name].to(to.shape))
            return ("VIEW", 1 + list(views).index(name))

        values = Values(lambda why: self.b.refuse(self.node, why), leaf)
        out = ("PUT", values.value(x.symbol))
        code, once, registers = assemble(values.keys, out, {})
        self.b.out.need_registers(max(2, registers))
        facts: Fields = {
            "code": code,
            "lines": len(code),
            "once": once,
            "registers": registers,
            "gives": native.FROM_FLOATS,
        }
        self.b.emit_on_views(self.node, "TENSOR", [to, *views.values()], 0, "sum", facts)

    # --- sums and products ------------------------------------------------------------------------------------------------

    def sum(self, x: Tensor, axes: Sizes, keep: bool = False) -> Tensor:
        """Sum a value [*shape] over axes, see Backend."""
        return self._reduced(x, axes, keep, "sum")

    def mean(self, x: Tensor, axes: Sizes, keep: bool = False) -> Tensor:
        """Average a value [*shape] over axes, see Backend."""
        return self._reduced(x, axes, keep, "mean")

    def max(self, x: Tensor, axes: Sizes, keep: bool = False) -> Tensor:
        """Take the maximum of a value [*shape] over axes, see Backend."""
        return self._reduced(x, axes, keep, "max")

    def _reduced(self, x: Tensor, axes: Sizes, keep: bool, reduction: str) -> Tensor:
        view = self.view(x)
        inner = [axis - 1 for axis in axes]
        outer = [i for i in range(len(x.shape)) if i not in inner]
        kept_shape = tuple(1 if i in inner else n for i, n in enumerate(x.shape))
        out = self.b.reserve_map(kept_shape if keep else [x.shape[i] for i in outer])
        out_axes = reshape_view(out, kept_shape)
        assert out_axes is not None  # axes of one place
        self.b.out.need_registers(2)
        shape = [x.shape[i] for i in (*outer, *inner)]
        views = [out_axes.to(x.shape), view]
        moved = [v.moved(v.array.transpose([*outer, *inner])) for v in views]
        if not outer:
            moved, shape = [v.moved(v.array[None]) for v in moved], [1, *shape]
        self.b.emit_on_views(self.node, "REDUCE", moved, len(inner), reduction)
        return self.of(out)

    def _product(self, out: View, a: View, b: View, inner: int) -> None:
        """Multiply two memory views and sum over their last `inner` axes, as an operation PRODUCT.

        All views have one shape; the axis before the inner ones is that of the rows of b.
        """
        rows = len(a.shape) - inner - 1
        if b.shape[rows] > 1 and b.array.strides[rows] != 4:
            once = b.moved(b.array[tuple(slice(0, 1) if s == 0 else slice(None) for s in b.array.strides)])
            order = [*(i for i in range(len(once.shape)) if i != rows), rows]
            if b.constant:
                dense = np.empty([once.shape[i] for i in order], np.float32)
                dense[...] = once.array.transpose(order)
                b = View(dense.transpose(np.argsort(order)), 0, True).to(b.shape)
            else:
                copy = self.b.reserve_row(once.shape, order)
                self.write(self.of(once), copy)
                b = copy.to(b.shape)
        self.b.out.need_registers(2)
        self.b.emit_on_views(self.node, "PRODUCT", [out, a, b], inner)

    def im2col_matmul(self, windows: Tensor, weight: Array, groups: int) -> Tensor:
        """Multiply the windows [I, ..., k...] of a convolution by its weight [O, I / groups, k...], and sum."""
        dims, outputs = weight.ndim - 2, len(weight)
        places, kernel = windows.shape[1 : 1 + dims], weight.shape[2:]
        group_outputs, inputs = outputs // groups, windows.shape[0] // groups
        index = (groups, *places, group_outputs, inputs, *kernel)
        out = self.b.reserve_map((outputs, *places))
        of_group = reshape_view(out, (groups, group_outputs, *places))
        source = reshape_view(self.view(windows), (groups, inputs, *places, *kernel))
        assert of_group is not None and source is not None  # an axis in two
        a = np.moveaxis(source.array, 1, 1 + dims)[(slice(None),) * (1 + dims) + (None,)]
        w = weight.reshape(groups, group_outputs, inputs, *kernel)[(slice(None),) + (None,) * dims]
        y = np.moveaxis(of_group.array, 1, 1 + dims)[(...,) + (None,) * (1 + dims)]
        self._product(of_group.moved(y).to(index), source.moved(a).to(index), View(w, 0, True).to(index), 1 + dims)
        return self.of(out)

    def linear(self, x: Tensor, weight: Array) -> Tensor:
        """Apply a linear layer with weight [O, I] to the last axis of x [..., I], see Backend."""
        return self.matmul(x, self.of(View(weight.T, 0, True)))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """Multiply matrices: [..., M, K] x [..., K, N]; of a linear layer [..., K] x [K, N]."""
        a_view, b_view = self.view(a), self.view(b)
        *before, size = a.shape
        columns = b.shape[-1]
        shape = (*np.broadcast_shapes(tuple(before[:-1]), b.shape[:-2]), *before[-1:], columns)
        out = self.b.reserve_map(shape)
        index = (*shape, size)
        turned = np.swapaxes(b_view.array, -1, -2)  # [..., N, K]
        if before:
            turned = turned[..., None, :, :]
        self._product(
            out.moved(out.array[..., None]).to(index),
            a_view.moved(a_view.array[..., None, :]).to(index),
            b_view.moved(turned).to(index),
            1,
        )
        return self.of(out)

    def matmul_axis(self, x: Tensor, axis: int, matrix: Callable[[int], Array], name: object = None) -> Tensor:
        """Multiply one axis of x [*shape] by a matrix, leaving out its zeros, see Backend."""
        view, index_axis = self.view(x), axis - 1
        if x.shape[index_axis] * max(self.node["shape"]) > MOST_MATRIX:
            raise self.b.refuse(
                self.node,
                f"an axis of {x.shape[index_axis]} to {list(self.node['shape'])} is too large for this engine",
            )
        rows = np.asarray(matrix(x.shape[index_axis]), np.float32)
        shape = [*x.shape[:index_axis], len(rows), *x.shape[axis:]]
        out = self.b.reserve_map(shape)
        outer = [i for i in range(len(shape)) if i != index_axis]
        outer.sort(key=lambda i: -abs(view.array.strides[i]))  # the last, whose values follow each other, are rows
        before, last = outer[:-1], outer[-1:]
        size = [shape[i] for i in (*before, index_axis)] + [shape[i] for i in last] + [1] * (1 - len(last))
        index = (*size, x.shape[index_axis])
        y = out.array.transpose([*before, index_axis, *last])
        source = view.array.transpose([*before, *last, index_axis])
        if not last:
            y, source = y[..., None], source[None]
        weights = rows.reshape((1,) * len(before) + (len(rows), 1, x.shape[index_axis]))
        source = source[(slice(None),) * len(before) + (None,)]
        self._product(
            out.moved(y[..., None]).to(index), View(weights, 0, True).to(index), view.moved(source).to(index), 1
        )
        return self.of(out)

    def take(self, x: Tensor, axis: int, places: Callable[[int], Array]) -> Tensor:
        """Select positions along one axis of x [*shape], see Backend."""
        return self.matmul_axis(x, axis, lambda n: selection_matrix(places(n), n))

    # --- reduced precision, and parameters --------------------------------------------------------------------------------

    def to_counts(self, x: Tensor | Array, area: int) -> Tensor | Array:
        """Convert values k / area [...] to the whole numbers k, see Backend.

        The compiler refuses sums that float32 does not hold exactly.
        """
        if not isinstance(x, Tensor):
            return np.asarray(x, np.float32)
        return x if area == 1 else self.op("Round", x * float(area))

    def real(self, sums: Tensor) -> Tensor:
        """Return sums [...] unchanged: the engine's sums are real numbers already."""
        return sums

    def parameter(self, value: Array) -> Array:
        return np.asarray(value, np.float32)

    def from_parameters(self, function: Callable[..., Array], *parameters: Array) -> Array:
        return np.asarray(function(*parameters))

    rearrange = from_parameters

    def broadcast_like(self, values: Array, shape: Sizes) -> Tensor:
        """Broadcast parameter values [...] to `shape`, see Backend."""
        return self.of(View(reshape_broadcast(values, shape), 0, True))

    def broadcast_trailing(self, values: Array, axes: int) -> Tensor:
        """Wrap parameter values [...] for broadcasting along trailing axes, see Backend."""
        return self.of(View(values, 0, True))


def _of_space(parts: Sequence[slice]) -> tuple[slice, ...]:
    return (slice(None), *parts)


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * (axis - 1), part)
