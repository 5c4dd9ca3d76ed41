"""Operations without a kernel of their own: their meaning (runtime/core/model/ops/operation.py), on views of the arena.

Moving axes, parts and windows make other views. Arithmetic is kept as an expression until something else needs its result, and
is then one operation TENSOR; sums are REDUCE, products PRODUCT. Results lie as the maps of the engine do, so that every other
operation reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import SupportsFloat

import numpy as np

from runtime import native
from runtime.core.model.ops.operation import choosing, repeating, windowed
from runtime.core.model.records import NodeRecord
from runtime.core.model.symbol import Symbol, SymbolicMath, tensor
from runtime.engines.event_program.assemble import Key, assemble
from runtime.engines.event_program.builder import Fields
from runtime.engines.event_program.values import Values
from runtime.engines.event_program.views import Array, Sizes, View, Views, reshaped

MOST_MATRIX = 1 << 26  # numbers of the matrix that resizes an axis


class Tensor:
    """A value [*shape] of the network: what a view holds, or an expression of views."""

    def __init__(self, m: Tensors, shape: Sizes, symbol: Symbol) -> None:
        self.m, self.shape, self.symbol = m, tuple(shape), symbol

    def __add__(self, other: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a + b, self, other)

    def __sub__(self, other: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a - b, self, other)

    def __mul__(self, other: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a * b, self, other)

    def __truediv__(self, other: Tensor | SupportsFloat) -> Tensor:
        return self.m._joined(lambda a, b: a / b, self, other)


class Tensors:
    """The argument `m` of the meaning of one node; shapes and axes are as there: axes count the batch, shapes do not."""

    def __init__(self, b: Views, node: NodeRecord) -> None:
        self.b, self.node = b, node
        self.views: dict[str, View] = {}  # by the names of symbols
        self.math = SymbolicMath()

    def of(self, view: View) -> Tensor:
        """A view [*shape] as a value."""
        name = f"view {len(self.views)}"
        self.views[name] = view
        return Tensor(self, view.shape, tensor(name))

    def view(self, x: Tensor) -> View:
        """Where a value [*shape] lies; an expression is computed."""
        if x.symbol.name is None:
            found = self.b.room(x.shape)
            self.write(x, found)
            x.symbol = self.of(found).symbol
        return self.views[str(x.symbol.name)]

    # --- other views of the same ------------------------------------------------------------------------------------------

    def _moved(self, x: Tensor, move: Callable[[Array], Array]) -> Tensor:
        view = self.view(x)
        return self.of(view.moved(move(view.array)))

    def reshape(self, x: Tensor, shape: Sizes) -> Tensor:
        """As Backend.reshape in operation.py."""
        view = self.view(x)
        found = reshaped(view, shape)
        if found is None:
            copy = self.b.row(view.shape)
            self.write(x, copy)
            found = reshaped(copy, shape)
            assert found is not None
        return self.of(found)

    def permute(self, x: Tensor, axes: Sizes) -> Tensor:
        """As Backend.permute in operation.py."""
        return self._moved(x, lambda a: a.transpose([axis - 1 for axis in axes[1:]]))

    def part(self, x: Tensor, axis: int, start: int, stop: int | None, step: int) -> Tensor:
        """As Backend.part in operation.py."""
        return self._moved(x, lambda a: a[_along(axis, slice(start, stop, step))])

    def windows(self, x: Tensor, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, fill: float) -> Tensor:
        """As Backend.windows in operation.py."""
        if any(padding):
            x = self._inside(x, fill, [(p, n, 1, p) for n, p in zip(x.shape[1:], padding, strict=True)])
        return self._moved(x, lambda a: windowed(a, kernel, stride, dilation))

    def spread(self, x: Tensor, stride: Sizes, before: Sizes, after: Sizes) -> Tensor:
        """As Backend.spread in operation.py."""
        sizes = list(zip(x.shape[1:], stride, before, after, strict=True))
        wide = self._inside(x, 0.0, [(max(b, 0), n, s, max(a, 0)) for n, s, b, a in sizes])
        part = [slice(max(-b, 0), n - max(-a, 0)) for n, (_, _, b, a) in zip(wide.shape[1:], sizes, strict=True)]
        return self._moved(wide, lambda array: array[_of_space(part)])

    def _inside(self, x: Tensor, fill: float, axes: Sequence[tuple[int, int, int, int]]) -> Tensor:
        """A map in a larger one of `fill`; of each axis of space: places before it, its size, the step between its places,
        places behind it."""
        whole = self.b.room((x.shape[0], *(b + (n - 1) * s + 1 + a for b, n, s, a in axes)))
        self.write(Tensor(self, whole.shape, Symbol("Identity", (fill,))), whole)
        part = [slice(b, b + (n - 1) * s + 1, s) for b, n, s, _ in axes]
        self.write(x, whole.moved(whole.array[_of_space(part)]))
        return self.of(whole)

    def concat(self, values: Sequence[Tensor], axis: int) -> Tensor:
        """As Backend.concat in operation.py."""
        size = list(values[0].shape)
        size[axis - 1] = sum(value.shape[axis - 1] for value in values)
        whole, at = self.b.room(size), 0
        for value in values:
            to = at + value.shape[axis - 1]
            self.write(value, whole.moved(whole.array[_along(axis, slice(at, to))]))
            at = to
        return self.of(whole)

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
        """As Backend.op in operation.py."""
        shape = np.broadcast_shapes(*(x.shape for x in values))
        return Tensor(self, shape, self.math.op(name, *(x.symbol for x in values)))

    def write(self, x: Tensor, to: View) -> None:
        """TENSOR: computes a value into a view of its shape, or of one over which it is repeated."""
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
        self.b.on_views(self.node, "TENSOR", [to, *views.values()], 0, "sum", facts)

    # --- sums and products ------------------------------------------------------------------------------------------------

    def sum(self, x: Tensor, axes: Sizes, keep: bool = False) -> Tensor:
        """As Backend.sum in operation.py."""
        return self._reduced(x, axes, keep, "sum")

    def mean(self, x: Tensor, axes: Sizes, keep: bool = False) -> Tensor:
        """As Backend.mean in operation.py."""
        return self._reduced(x, axes, keep, "mean")

    def max(self, x: Tensor, axes: Sizes, keep: bool = False) -> Tensor:
        """As Backend.max in operation.py."""
        return self._reduced(x, axes, keep, "max")

    def _reduced(self, x: Tensor, axes: Sizes, keep: bool, how: str) -> Tensor:
        view = self.view(x)
        inner = [axis - 1 for axis in axes]
        outer = [i for i in range(len(x.shape)) if i not in inner]
        kept = tuple(1 if i in inner else n for i, n in enumerate(x.shape))
        out = self.b.room(kept if keep else [x.shape[i] for i in outer])
        each = reshaped(out, kept)
        assert each is not None  # axes of one place
        self.b.out.need_registers(2)
        shape = [x.shape[i] for i in (*outer, *inner)]
        views = [each.to(x.shape), view]
        moved = [v.moved(v.array.transpose([*outer, *inner])) for v in views]
        if not outer:
            moved, shape = [v.moved(v.array[None]) for v in moved], [1, *shape]
        self.b.on_views(self.node, "REDUCE", moved, len(inner), how)
        return self.of(out)

    def _product(self, out: View, a: View, b: View, inner: int) -> None:
        """PRODUCT: views of one shape, the last `inner` axes summed over; the axis before them is that of rows of b."""
        rows = len(a.shape) - inner - 1
        if b.shape[rows] > 1 and b.array.strides[rows] != 4:
            once = b.moved(b.array[tuple(slice(0, 1) if s == 0 else slice(None) for s in b.array.strides)])
            order = [*(i for i in range(len(once.shape)) if i != rows), rows]
            if b.constant:
                dense = np.empty([once.shape[i] for i in order], np.float32)
                dense[...] = once.array.transpose(order)
                b = View(dense.transpose(np.argsort(order)), 0, True).to(b.shape)
            else:
                copy = self.b.row(once.shape, order)
                self.write(self.of(once), copy)
                b = copy.to(b.shape)
        self.b.out.need_registers(2)
        self.b.on_views(self.node, "PRODUCT", [out, a, b], inner)

    def weighed(self, windows: Tensor, weight: Array, groups: int) -> Tensor:
        """The sums of a convolution: windows [I, ..., k...], weight [O, I / groups, k...]."""
        dims, outputs = weight.ndim - 2, len(weight)
        where, kernel = windows.shape[1 : 1 + dims], weight.shape[2:]
        each, inputs = outputs // groups, windows.shape[0] // groups
        index = (groups, *where, each, inputs, *kernel)
        out = self.b.room((outputs, *where))
        of_group = reshaped(out, (groups, each, *where))
        source = reshaped(self.view(windows), (groups, inputs, *where, *kernel))
        assert of_group is not None and source is not None  # an axis in two
        a = np.moveaxis(source.array, 1, 1 + dims)[(slice(None),) * (1 + dims) + (None,)]
        w = weight.reshape(groups, each, inputs, *kernel)[(slice(None),) + (None,) * dims]
        y = np.moveaxis(of_group.array, 1, 1 + dims)[(...,) + (None,) * (1 + dims)]
        self._product(of_group.moved(y).to(index), source.moved(a).to(index), View(w, 0, True).to(index), 1 + dims)
        return self.of(out)

    def linear(self, x: Tensor, weight: Array) -> Tensor:
        """As Backend.linear in operation.py."""
        return self.matmul(x, self.of(View(weight.T, 0, True)))

    def matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """[..., M, K] x [..., K, N]; of a linear layer [..., K] x [K, N]."""
        left, right = self.view(a), self.view(b)
        *before, size = a.shape
        columns = b.shape[-1]
        shape = (*np.broadcast_shapes(tuple(before[:-1]), b.shape[:-2]), *before[-1:], columns)
        out = self.b.room(shape)
        index = (*shape, size)
        turned = np.swapaxes(right.array, -1, -2)  # [..., N, K]
        if before:
            turned = turned[..., None, :, :]
        self._product(
            out.moved(out.array[..., None]).to(index),
            left.moved(left.array[..., None, :]).to(index),
            right.moved(turned).to(index),
            1,
        )
        return self.of(out)

    def along(self, x: Tensor, axis: int, matrix: Callable[[int], Array], name: object = None) -> Tensor:
        """As Backend.along in operation.py; zeros of A are left out."""
        view, at = self.view(x), axis - 1
        if x.shape[at] * max(self.node["shape"]) > MOST_MATRIX:
            raise self.b.refuse(
                self.node, f"an axis of {x.shape[at]} to {list(self.node['shape'])} is too large for this engine"
            )
        rows = np.asarray(matrix(x.shape[at]), np.float32)
        shape = [*x.shape[:at], len(rows), *x.shape[axis:]]
        out = self.b.room(shape)
        others = [i for i in range(len(shape)) if i != at]
        others.sort(key=lambda i: -abs(view.array.strides[i]))  # the last, whose values follow each other, are rows
        before, last = others[:-1], others[-1:]
        size = [shape[i] for i in (*before, at)] + [shape[i] for i in last] + [1] * (1 - len(last))
        index = (*size, x.shape[at])
        y = out.array.transpose([*before, at, *last])
        source = view.array.transpose([*before, *last, at])
        if not last:
            y, source = y[..., None], source[None]
        weights = rows.reshape((1,) * len(before) + (len(rows), 1, x.shape[at]))
        source = source[(slice(None),) * len(before) + (None,)]
        self._product(
            out.moved(y[..., None]).to(index), View(weights, 0, True).to(index), view.moved(source).to(index), 1
        )
        return self.of(out)

    def take(self, x: Tensor, axis: int, places: Callable[[int], Array]) -> Tensor:
        """As Backend.take in operation.py."""
        return self.along(x, axis, lambda n: choosing(places(n), n))

    # --- reduced precision, and parameters --------------------------------------------------------------------------------

    def counts(self, x: Tensor | Array, area: int) -> Tensor | Array:
        """Whole numbers [...]; what float32 does not add up exactly, the compiler refuses."""
        if not isinstance(x, Tensor):
            return np.asarray(x, np.float32)
        return x if area == 1 else self.op("Round", x * float(area))

    def real(self, sums: Tensor) -> Tensor:
        """As Backend.real in operation.py."""
        return sums

    def parameter(self, value: Array) -> Array:
        return np.asarray(value, np.float32)

    def once(self, function: Callable[..., Array], *parameters: Array) -> Array:
        return np.asarray(function(*parameters))

    arranged = once

    def beside(self, values: Array, shape: Sizes) -> Tensor:
        """As Backend.beside in operation.py."""
        return self.of(View(repeating(values, shape), 0, True))

    def trailing(self, values: Array, axes: int) -> Tensor:
        """As Backend.trailing in operation.py."""
        return self.of(View(values, 0, True))


def _of_space(parts: Sequence[slice]) -> tuple[slice, ...]:
    return (slice(None), *parts)


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return (*(slice(None),) * (axis - 1), part)
