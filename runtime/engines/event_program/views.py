"""Views of floats in the arena, and the operations on them that runtime/native/engine/tensor.h describes.

NumPy does the arithmetic of views: the array of a view of the arena has its strides and its place relative to NOWHERE, and
is never read or written. A parameter is an array as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from runtime import native
from runtime.core.model.records import NodeRecord, as_map
from runtime.engines.event_program.builder import Builder, Fields
from runtime.engines.event_program.layout import LayerOutput, ParameterPack, aligned, lanes
from runtime.native import FROM_FLOATS

Sizes = Sequence[int]
Array = np.ndarray

NOWHERE = np.zeros(1, np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """Floats [*shape]: of the arena, `at` floats from its beginning on, or of a parameter."""

    array: Array
    at: int = 0
    constant: bool = False

    def moved(self, array: Array) -> View:
        """Another view of the same floats."""
        return View(array, self.at, self.constant)

    def to(self, shape: Sizes) -> View:
        return self.moved(np.broadcast_to(self.array, tuple(shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def place(self) -> int:
        return self.at + (_address(self.array) - _address(NOWHERE)) // 4


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def strided(shape: Sizes, strides: Sizes, at: int) -> View:
    """strides, at: in floats."""
    return View(as_strided(NOWHERE, tuple(shape), tuple(4 * n for n in strides)), at)


def in_order(shape: Sizes, order: Sizes | None = None) -> list[int]:
    """The strides of floats that follow each other; order: the axes, the last of which changes fastest."""
    strides, step = [0] * len(shape), 1
    for i in reversed(order if order is not None else range(len(shape))):
        strides[i], step = step, step * shape[i]
    return strides


def map_view(at: int, shape: Sizes) -> View:
    """A map [*shape] at `at` bytes of the arena, whose first axis is the channels, which lie together."""
    inner = in_order(shape[1:])
    return strided(shape, [1, *(lanes(shape[0]) * n for n in inner)], at // 4)


def reshaped(view: View, shape: Sizes) -> View | None:
    """The same floats in the same order as another shape; None where they would have to be copied."""
    if view.constant:
        return view.moved(view.array.reshape(tuple(shape)))
    if prod(shape) != prod(view.shape):
        raise ValueError(f"{list(view.shape)} as {list(shape)}")
    old = [(n, s) for n, s in zip(view.array.shape, view.array.strides, strict=True) if n != 1]
    new = [n for n in shape if n != 1]
    strides: list[int] = []
    while old and new:
        group, here, size = [new.pop(0)], [old.pop(0)], 0
        while (size := prod(group)) != prod(n for n, _ in here):
            (group.append(new.pop(0)) if size < prod(n for n, _ in here) else here.append(old.pop(0)))
        if any(s != n_next * s_next for (_, s), (n_next, s_next) in pairwise(here)):
            return None
        strides += [here[-1][1] * n for n in in_order(group)]
    whole = iter(strides)
    return view.moved(as_strided(view.array, tuple(shape), [0 if n == 1 else next(whole) for n in shape]))


class Views(Builder):
    """A builder of operations on views."""

    def room(self, shape: Sizes) -> View:
        """New room for a map."""
        return map_view(self.space(as_map(shape)).at, shape)

    def is_map(self, view: View) -> bool:
        """Whether a view is all of a room, as other operations read it."""
        return view.array.strides == map_view(0, view.shape).array.strides and self.rooms.get(4 * view.place) == as_map(
            view.shape
        )

    def row(self, shape: Sizes, order: Sizes | None = None) -> View:
        """New room for floats that follow each other in the order of their axes, or of `order`."""
        n = prod(shape)
        width = min(-(-n // 64) * 64, 1 << 20)
        return strided(shape, in_order(shape, order), self.space((width, -(-n // width), 1)).at // 4)

    def space(self, shape: tuple[int, int, int]) -> LayerOutput:
        value = self.floats_at(shape)
        self.emit("SPACE", value, value, items=1)
        self.rooms[value.at] = shape
        return value

    def on_views(
        self,
        node: NodeRecord,
        kind: str,
        views: Sequence[View],
        inner: int,
        how: str = "sum",
        more: Fields | None = None,
    ) -> None:
        """Emits TENSOR, REDUCE or PRODUCT. views: of one shape, what is written first; the last `inner` axes are summed over."""
        outer = len(views[0].shape) - inner
        parts = ParameterPack()
        placed = [self._placed(view, parts) for view in views]
        index = [*range(outer)]
        if kind != "PRODUCT":  # whose rows come last
            index.sort(key=lambda i: -abs(placed[0][1][i]))
        axes = [[(views[0].shape[i], [strides[i] for _, strides in placed]) for i in group]
                for group in (index, range(outer, outer + inner))]  # fmt: skip
        if kind == "PRODUCT":
            (n, (out, a, b)) = axes[0][-1]  # of rows, one of which may be one number
            axes = [
                [*_joined(axes[0][:-1], 0), (n, [out, 0 if n == 1 else a, 1 if n == 1 else b])],
                _joined(axes[1], 1),
            ]
        else:
            axes = [_joined(axes[0], 1), _joined(axes[1], min(inner, 1))]
        flat = [*axes[0], *axes[1]]
        if len(flat) > native.MOST_AXES or len(views) > native.MOST_VIEWS:
            raise self.refuse(node, f"a work of {len(flat)} axes and {len(views)} values is not in this engine")
        table = aligned((4 + native.MOST_AXES + len(views) * (2 + native.MOST_AXES),), np.int64)
        table[:4] = len(flat), len(axes[1]), len(views), native.REDUCTIONS.index(how)
        table[4 : 4 + len(flat)] = [n for n, _ in flat]
        rows = table[4 + native.MOST_AXES :].reshape(len(views), -1)
        for i, (view, (at, _)) in enumerate(zip(views, placed, strict=True)):
            rows[i, :2] = at, -1 if view.constant else self.maker_of(4 * at)
            rows[i, 2 : 2 + len(flat)] = [strides[i] for _, strides in flat]
        rows_axis = len(axes[0]) - 1 if kind == "PRODUCT" else len(axes[0])
        size = prod(n for n, _ in flat[:rows_axis])
        items = -(-size // (native.PIECE_ROWS if kind == "PRODUCT" else native.PIECE_ELEMENTS))
        one = LayerOutput(FROM_FLOATS, (1, 1, 1))
        fields = (more or {}) | ({"alpha": parts.array()} if parts.parts else {})
        self.emit(kind, one, one, items=items, weight=table, **fields)

    def _placed(self, view: View, parts: ParameterPack) -> tuple[int, list[int]]:
        """(where a view begins, its strides), in floats; a parameter is added to `parts`, without what is repeated."""
        if not view.constant:
            return view.place, [s // 4 for s in view.array.strides]
        once = view.array[tuple(slice(0, 1) if s == 0 else slice(None) for s in view.array.strides)]
        order = sorted(range(once.ndim), key=lambda i: -abs(once.strides[i]))
        at = parts.add(np.ascontiguousarray(once.transpose(order), np.float32).reshape(-1))
        strides = in_order(once.shape, order)
        return at, [0 if n == 1 else s for n, s in zip(once.shape, strides, strict=True)]


Axis = tuple[int, list[int]]  # how many places, and the stride of each view


def _joined(axes: Sequence[Axis], least: int) -> list[Axis]:
    """The axes without those of one place; two of which the first goes on where the second ends are one."""
    found: list[Axis] = []
    for n, strides in axes:
        if n == 1:
            continue
        if found and all(s == n * t for s, t in zip(found[-1][1], strides, strict=True)):
            found[-1] = (found[-1][0] * n, strides)
        else:
            found.append((n, strides))
    return found or [(1, [0] * len(axes[0][1]) if axes else [])] * least
