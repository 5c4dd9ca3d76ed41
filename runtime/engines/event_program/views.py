"""Views of floats in the arena, and the operations on them that runtime/native/engine/tensor.h describes.

NumPy computes shapes and strides of views: the array of a view of the arena has its strides and its place relative to
NOWHERE, and is never read or written. The array of a parameter holds its numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from runtime import native
from runtime.core.model.records import NodeRecord, to_map_shape
from runtime.engines.event_program.builder import Builder, Fields
from runtime.engines.event_program.layout import LayerOutput, ParameterPack, allocate_aligned, count_lanes
from runtime.native import FROM_FLOATS

Sizes = Sequence[int]
Array = np.ndarray

NOWHERE = np.zeros(1, np.float32)


@dataclass(frozen=True, eq=False)
class View:
    """A view of floats [*shape]: of the working memory (arena) from `offset` floats on, or of a parameter."""

    array: Array
    offset: int = 0
    constant: bool = False

    def moved(self, array: Array) -> View:
        """Return another view of the same memory, with the shape and strides of `array` [*shape]."""
        return View(array, self.offset, self.constant)

    def to(self, shape: Sizes) -> View:
        return self.moved(np.broadcast_to(self.array, tuple(shape)))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def place(self) -> int:
        return self.offset + (_address(self.array) - _address(NOWHERE)) // 4


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def strided_view(shape: Sizes, strides: Sizes, offset: int) -> View:
    """Create a view of the working memory (arena) from shape, strides and offset, the latter two in floats."""
    return View(as_strided(NOWHERE, tuple(shape), tuple(4 * n for n in strides)), offset)


def contiguous_strides(shape: Sizes, order: Sizes | None = None) -> list[int]:
    """Return the strides of contiguous floats.

    order: the axes, of which the last changes fastest.
    """
    strides, step = [0] * len(shape), 1
    for i in reversed(order if order is not None else range(len(shape))):
        strides[i], step = step, step * shape[i]
    return strides


def map_view(offset: int, shape: Sizes) -> View:
    """Create the view of a map [*shape] at `offset` bytes of the arena; channels, the first axis, are adjacent."""
    inner = contiguous_strides(shape[1:])
    return strided_view(shape, [1, *(count_lanes(shape[0]) * n for n in inner)], offset // 4)


def reshape_view(view: View, shape: Sizes) -> View | None:
    """Return a view with another shape of the same floats in order, or None if that needs a copy."""
    if view.constant:
        return view.moved(view.array.reshape(tuple(shape)))
    if prod(shape) != prod(view.shape):
        raise ValueError(f"{list(view.shape)} as {list(shape)}")
    old = [(n, s) for n, s in zip(view.array.shape, view.array.strides, strict=True) if n != 1]
    new = [n for n in shape if n != 1]
    strides: list[int] = []
    while old and new:
        group, old_axes, size = [new.pop(0)], [old.pop(0)], 0
        while (size := prod(group)) != prod(n for n, _ in old_axes):
            (group.append(new.pop(0)) if size < prod(n for n, _ in old_axes) else old_axes.append(old.pop(0)))
        if any(s != n_next * s_next for (_, s), (n_next, s_next) in pairwise(old_axes)):
            return None
        strides += [old_axes[-1][1] * n for n in contiguous_strides(group)]
    remaining_strides = iter(strides)
    return view.moved(as_strided(view.array, tuple(shape), [0 if n == 1 else next(remaining_strides) for n in shape]))


class Views(Builder):
    """A builder of event-engine operations on views of memory."""

    def reserve_map(self, shape: Sizes) -> View:
        """Reserve memory for a map [*shape] and return its view."""
        return map_view(self.reserve_space(to_map_shape(shape)).offset, shape)

    def is_map(self, view: View) -> bool:
        """Return whether a view covers a reserved map completely, as other operations read it."""
        return view.array.strides == map_view(0, view.shape).array.strides and self.rooms.get(
            4 * view.place
        ) == to_map_shape(view.shape)

    def reserve_row(self, shape: Sizes, order: Sizes | None = None) -> View:
        """Reserve contiguous memory for floats [*shape], in the order of their axes or of `order`."""
        n = prod(shape)
        width = min(-(-n // 64) * 64, 1 << 20)
        return strided_view(
            shape, contiguous_strides(shape, order), self.reserve_space((width, -(-n // width), 1)).offset // 4
        )

    def reserve_space(self, shape: tuple[int, int, int]) -> LayerOutput:
        value = self.reserve_floats(shape)
        self.emit("SPACE", value, value, items=1)
        self.rooms[value.offset] = shape
        return value

    def emit_on_views(
        self,
        node: NodeRecord,
        kind: str,
        views: Sequence[View],
        inner: int,
        reduction: str = "sum",
        extra_fields: Fields | None = None,
    ) -> None:
        """Emit an operation TENSOR, REDUCE or PRODUCT on views of one shape, the output first.

        The last `inner` axes are summed over.
        """
        outer = len(views[0].shape) - inner
        parts = ParameterPack()
        placed = [self._locate(view, parts) for view in views]
        index = [*range(outer)]
        if kind != "PRODUCT":  # whose rows come last
            index.sort(key=lambda i: -abs(placed[0][1][i]))
        axes = [[(views[0].shape[i], [strides[i] for _, strides in placed]) for i in group]
                for group in (index, range(outer, outer + inner))]  # fmt: skip
        if kind == "PRODUCT":
            (n, (out, a, b)) = axes[0][-1]  # of rows, one of which may be one number
            axes = [
                [*_merge_axes(axes[0][:-1], 0), (n, [out, 0 if n == 1 else a, 1 if n == 1 else b])],
                _merge_axes(axes[1], 1),
            ]
        else:
            axes = [_merge_axes(axes[0], 1), _merge_axes(axes[1], min(inner, 1))]
        flat = [*axes[0], *axes[1]]
        if len(flat) > native.MOST_AXES or len(views) > native.MOST_VIEWS:
            raise self.refuse(node, f"a work of {len(flat)} axes and {len(views)} values is not in this engine")
        table = allocate_aligned((4 + native.MOST_AXES + len(views) * (2 + native.MOST_AXES),), np.int64)
        table[:4] = len(flat), len(axes[1]), len(views), native.REDUCTIONS.index(reduction)
        table[4 : 4 + len(flat)] = [n for n, _ in flat]
        rows = table[4 + native.MOST_AXES :].reshape(len(views), -1)
        for i, (view, (offset, _)) in enumerate(zip(views, placed, strict=True)):
            rows[i, :2] = offset, -1 if view.constant else self.find_producer(4 * offset)
            rows[i, 2 : 2 + len(flat)] = [strides[i] for _, strides in flat]
        rows_axis = len(axes[0]) - 1 if kind == "PRODUCT" else len(axes[0])
        size = prod(n for n, _ in flat[:rows_axis])
        items = -(-size // (native.PIECE_ROWS if kind == "PRODUCT" else native.PIECE_ELEMENTS))
        unit = LayerOutput(FROM_FLOATS, (1, 1, 1))
        fields = (extra_fields or {}) | ({"alpha": parts.array()} if parts.parts else {})
        self.emit(kind, unit, unit, items=items, weight=table, **fields)

    def _locate(self, view: View, parts: ParameterPack) -> tuple[int, list[int]]:
        """Return a view's offset and strides in floats; add a parameter to the pack `parts` without repetitions."""
        if not view.constant:
            return view.place, [s // 4 for s in view.array.strides]
        once = view.array[tuple(slice(0, 1) if s == 0 else slice(None) for s in view.array.strides)]
        order = sorted(range(once.ndim), key=lambda i: -abs(once.strides[i]))
        offset = parts.add(np.ascontiguousarray(once.transpose(order), np.float32).reshape(-1))
        strides = contiguous_strides(once.shape, order)
        return offset, [0 if n == 1 else s for n, s in zip(once.shape, strides, strict=True)]


Axis = tuple[int, list[int]]  # size, and the stride of each view


def _merge_axes(axes: Sequence[Axis], least: int) -> list[Axis]:
    """Merge a view's axes that continue each other in memory, and leave out axes of size 1."""
    merged: list[Axis] = []
    for n, strides in axes:
        if n == 1:
            continue
        if merged and all(s == n * t for s, t in zip(merged[-1][1], strides, strict=True)):
            merged[-1] = (merged[-1][0] * n, strides)
        else:
            merged.append((n, strides))
    return merged or [(1, [0] * len(axes[0][1]) if axes else [])] * least
