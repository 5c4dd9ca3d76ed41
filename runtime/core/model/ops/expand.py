"""An operation as the operations that its meaning is made of, for a writer or an engine that has no word for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Node
from runtime.core.model.ops.operation import OPERATIONS, UNARY, Shape, choosing
from runtime.core.model.ops.shapes import shape_of


def expanded(node: Node, shapes: Sequence[Shape]) -> list[Node]:
    """The nodes that stand for `node`, whose inputs have these shapes: the last of them has its name.

    Raises PlifError where its meaning is no such nodes: then whoever asked must have a word for it.
    """
    meaning = OPERATIONS[node.op].meaning
    m = _Nodes(node.name)
    if meaning is None:
        raise m.refuse("is not made of others")
    inputs = [_Term(m, name, tuple(shape)) for name, shape in zip(node.inputs, shapes, strict=True)]
    meaning(m, node, {key: m.parameter(value) for key, value in node.params.items()}, *inputs)
    if not m.made or m.made[-1].shape != tuple(node.shape):
        raise m.refuse("is not made of others")
    return [*m.made[:-1], m.made[-1].with_(name=node.name)]


class _Term:
    """A value of the graph: the name of its node, and its shape without the batch."""

    def __init__(self, m: _Nodes, name: str, shape: Shape) -> None:
        self.m, self.name, self.shape = m, name, shape

    def __add__(self, other: _Term | float) -> _Term:
        return self.m.joined("Add", self, other)

    def __sub__(self, other: _Term | float) -> _Term:
        return self.m.joined("Sub", self, other)

    def __mul__(self, other: _Term | float) -> _Term:
        return self.m.joined("Mul", self, other)

    def __truediv__(self, other: _Term | float) -> _Term:
        return self.m.joined("Div", self, other)


class _Nodes:
    """The argument `m` of a meaning (operation.py), as far as nodes say it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.made: list[Node] = []

    def __getattr__(self, name: str) -> NoReturn:
        raise self.refuse(f"is made by {name}(), which is no node")

    def refuse(self, why: str) -> PlifError:
        return PlifError(f"layer {self.name} {why}")

    def enter(self, op: str, inputs: Sequence[_Term], shape: Shape | None = None, **attrs: object) -> _Term:
        """Enters a node; its shape is asked of its operation where that does not ask for it."""
        node = Node(f"{self.name}_{len(self.made)}", op, tuple(x.name for x in inputs), shape or (), attrs)
        return self._entered(node if shape else node.with_(shape=shape_of(node, [x.shape for x in inputs])))

    def _entered(self, node: Node) -> _Term:
        self.made.append(node)
        return _Term(self, node.name, node.shape)

    def joined(self, op: str, a: _Term, b: _Term | float) -> _Term:
        if not isinstance(b, _Term):
            b = self._constant(np.full((1,) * len(a.shape), b, np.float32))
        if len(b.shape) < len(a.shape):  # a parameter, which repeats over the axes before its own
            b = self._constant(self._value(b).reshape((1,) * (len(a.shape) - len(b.shape)) + b.shape))
        return self.enter(op, (a, b))

    def op(self, name: str, x: _Term) -> _Term:
        if name not in UNARY:
            raise self.refuse(f"is made by {name}, which is no node")
        return self.enter("Unary", (x,), function=name)

    # --- moved --------------------------------------------------------------------------------------------------------

    def reshape(self, x: _Term, shape: Sequence[int]) -> _Term:
        return self.enter("Flatten" if len(shape) == 1 else "Reshape", (x,), tuple(shape))

    def permute(self, x: _Term, axes: Sequence[int]) -> _Term:
        return self.enter("Permute", (x,), axes=list(axes))

    def part(self, x: _Term, axis: int, start: int, stop: int | None, step: int) -> _Term:
        return self.enter("Slice", (x,), axis=axis, start=start, stop=stop, step=step)

    def concat(self, values: Sequence[_Term], axis: int) -> _Term:
        return self.enter("Concat", values, axis=axis)

    # --- added up -----------------------------------------------------------------------------------------------------

    def sum(self, x: _Term, axes: Sequence[int], keep: bool = False) -> _Term:
        return self._reduced("sum", x, axes, keep)

    def mean(self, x: _Term, axes: Sequence[int], keep: bool = False) -> _Term:
        return self._reduced("mean", x, axes, keep)

    def max(self, x: _Term, axes: Sequence[int], keep: bool = False) -> _Term:
        return self._reduced("max", x, axes, keep)

    def _reduced(self, how: str, x: _Term, axes: Sequence[int], keep: bool) -> _Term:
        return self.enter("Reduce", (x,), how=how, axes=list(axes), keepdims=keep)

    def take(self, x: _Term, axis: int, places: Callable[[int], np.ndarray]) -> _Term:
        return self.along(x, axis, lambda n: choosing(places(n), n))

    def along(self, x: _Term, axis: int, matrix: Callable[[int], np.ndarray], name: object = None) -> _Term:
        """X A^T along the last axis; another one changes places with it."""
        swapped = list(range(1 + len(x.shape)))
        swapped[axis], swapped[-1] = swapped[-1], swapped[axis]
        rows = matrix(x.shape[axis - 1]).T
        if axis == len(x.shape):
            return self.matmul(x, self._constant(rows.reshape((1,) * (len(x.shape) - 2) + rows.shape)))
        return self.permute(self.along(self.permute(x, swapped), len(x.shape), matrix), swapped)

    def matmul(self, a: _Term, b: _Term) -> _Term:
        return self.enter("MatMul", (a, b))

    # --- parameters ---------------------------------------------------------------------------------------------------

    def parameter(self, value: np.ndarray) -> np.ndarray:
        return np.asarray(value, np.float32)

    def once(self, function: Callable[..., np.ndarray], *parameters: np.ndarray) -> np.ndarray:
        return np.asarray(function(*parameters), np.float32)

    arranged = once

    def beside(self, values: np.ndarray, shape: Sequence[int]) -> _Term:
        if values.ndim != len(shape):
            values = values.reshape(-1, *(1,) * (len(shape) - 1))
        return self._constant(values)

    def trailing(self, values: np.ndarray, axes: int) -> _Term:
        return self._constant(values)

    def _value(self, term: _Term) -> np.ndarray:
        return next(node.params["value"] for node in self.made if node.name == term.name)

    def _constant(self, values: np.ndarray) -> _Term:
        name = f"{self.name}_{len(self.made)}"
        return self._entered(Node(name, "Constant", (), values.shape, {}, {"value": np.ascontiguousarray(values)}))
