"""Rewrites an operation as the simpler operations of its meaning, for a writer or an engine that lacks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.model.graph import Node
from runtime.core.model.ops.operation import OPERATIONS, UNARY, Shape, selection_matrix
from runtime.core.model.ops.shapes import infer_shape


def expand_node(node: Node, shapes: Sequence[Shape]) -> list[Node]:
    """Return the simpler nodes that compute the same as a node (see Operation.meaning); the last has its name.

    shapes  of its inputs, without the batch
    Raises PlifError where the meaning is not made of other nodes: then the writer or engine must support the operation.
    """
    meaning = OPERATIONS[node.op].meaning
    m = _NodeBuilder(node.name)
    if meaning is None:
        raise m.refuse("is not made of others")
    inputs = [_Term(m, name, tuple(shape)) for name, shape in zip(node.inputs, shapes, strict=True)]
    meaning(m, node, {key: m.parameter(value) for key, value in node.params.items()}, *inputs)
    if not m.nodes or m.nodes[-1].shape != tuple(node.shape):
        raise m.refuse("is not made of others")
    return [*m.nodes[:-1], m.nodes[-1].with_(name=node.name)]


class _Term:
    """A value while a node is expanded into others: the name of its node, and its shape without the batch."""

    def __init__(self, m: _NodeBuilder, name: str, shape: Shape) -> None:
        self.m, self.name, self.shape = m, name, shape

    def __add__(self, operand: _Term | float) -> _Term:
        return self.m.add_binary("Add", self, operand)

    def __sub__(self, operand: _Term | float) -> _Term:
        return self.m.add_binary("Sub", self, operand)

    def __mul__(self, operand: _Term | float) -> _Term:
        return self.m.add_binary("Mul", self, operand)

    def __truediv__(self, operand: _Term | float) -> _Term:
        return self.m.add_binary("Div", self, operand)


class _NodeBuilder:
    """The Backend (operation.py) that records an operation's meaning as nodes of a graph."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []

    def __getattr__(self, name: str) -> NoReturn:
        raise self.refuse(f"is made by {name}(), which is no node")

    def refuse(self, reason: str) -> PlifError:
        return PlifError(f"layer {self.name} {reason}")

    def add_node(self, op: str, inputs: Sequence[_Term], shape: Shape | None = None, **attrs: object) -> _Term:
        """Append a graph node and return its value; without `shape` the operation's shape rule gives its shape."""
        node = Node(f"{self.name}_{len(self.nodes)}", op, tuple(x.name for x in inputs), shape or (), attrs)
        return self._append(node if shape else node.with_(shape=infer_shape(node, [x.shape for x in inputs])))

    def _append(self, node: Node) -> _Term:
        self.nodes.append(node)
        return _Term(self, node.name, node.shape)

    def add_binary(self, op: str, a: _Term, b: _Term | float) -> _Term:
        if not isinstance(b, _Term):
            b = self._add_constant(np.full((1,) * len(a.shape), b, np.float32))
        if len(b.shape) < len(a.shape):  # a parameter, which repeats over the axes before its own
            b = self._add_constant(self._find_constant(b).reshape((1,) * (len(a.shape) - len(b.shape)) + b.shape))
        return self.add_node(op, (a, b))

    def op(self, name: str, x: _Term) -> _Term:
        if name not in UNARY:
            raise self.refuse(f"is made by {name}, which is no node")
        return self.add_node("Unary", (x,), function=name)

    # --- moved values --------------------------------------------------------------------------------------------------------

    def reshape(self, x: _Term, shape: Sequence[int]) -> _Term:
        return self.add_node("Flatten" if len(shape) == 1 else "Reshape", (x,), tuple(shape))

    def permute(self, x: _Term, axes: Sequence[int]) -> _Term:
        return self.add_node("Permute", (x,), axes=list(axes))

    def slice_axis(self, x: _Term, axis: int, start: int, stop: int | None, step: int) -> _Term:
        return self.add_node("Slice", (x,), axis=axis, start=start, stop=stop, step=step)

    def concat(self, values: Sequence[_Term], axis: int) -> _Term:
        return self.add_node("Concat", values, axis=axis)

    # --- reductions -----------------------------------------------------------------------------------------------------

    def sum(self, x: _Term, axes: Sequence[int], keep: bool = False) -> _Term:
        return self._reduce("sum", x, axes, keep)

    def mean(self, x: _Term, axes: Sequence[int], keep: bool = False) -> _Term:
        return self._reduce("mean", x, axes, keep)

    def max(self, x: _Term, axes: Sequence[int], keep: bool = False) -> _Term:
        return self._reduce("max", x, axes, keep)

    def _reduce(self, function: str, x: _Term, axes: Sequence[int], keep: bool) -> _Term:
        return self.add_node("Reduce", (x,), how=function, axes=list(axes), keepdims=keep)

    def take(self, x: _Term, axis: int, places: Callable[[int], np.ndarray]) -> _Term:
        return self.matmul_axis(x, axis, lambda n: selection_matrix(places(n), n))

    def matmul_axis(self, x: _Term, axis: int, matrix: Callable[[int], np.ndarray], name: object = None) -> _Term:
        """Multiply by a matrix along the last axis (X A^T); another axis changes places with it before and after."""
        swapped = list(range(1 + len(x.shape)))
        swapped[axis], swapped[-1] = swapped[-1], swapped[axis]
        rows = matrix(x.shape[axis - 1]).T
        if axis == len(x.shape):
            return self.matmul(x, self._add_constant(rows.reshape((1,) * (len(x.shape) - 2) + rows.shape)))
        return self.permute(self.matmul_axis(self.permute(x, swapped), len(x.shape), matrix), swapped)

    def matmul(self, a: _Term, b: _Term) -> _Term:
        return self.add_node("MatMul", (a, b))

    # --- parameters ---------------------------------------------------------------------------------------------------

    def parameter(self, value: np.ndarray) -> np.ndarray:
        return np.asarray(value, np.float32)

    def from_parameters(self, function: Callable[..., np.ndarray], *parameters: np.ndarray) -> np.ndarray:
        return np.asarray(function(*parameters), np.float32)

    rearrange = from_parameters

    def broadcast_like(self, values: np.ndarray, shape: Sequence[int]) -> _Term:
        if values.ndim != len(shape):
            values = values.reshape(-1, *(1,) * (len(shape) - 1))
        return self._add_constant(values)

    def broadcast_trailing(self, values: np.ndarray, axes: int) -> _Term:
        return self._add_constant(values)

    def _find_constant(self, term: _Term) -> np.ndarray:
        return next(node.params["value"] for node in self.nodes if node.name == term.name)

    def _add_constant(self, values: np.ndarray) -> _Term:
        name = f"{self.name}_{len(self.nodes)}"
        return self._append(Node(name, "Constant", (), values.shape, {}, {"value": np.ascontiguousarray(values)}))
