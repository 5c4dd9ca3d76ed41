"""Changing ONNX: networks with other operations, and files with other fields."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.plif_export.core.attacks.artifacts import attack, reseal

F = np.float32
Proto = onnx.ModelProto


class Graph:
    """A network to change: new operations, and who reads or makes a tensor."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.proto, self.made = proto, 0
        self.inputs = [i.name for i in proto.graph.input]
        self.states = [name for name in self.inputs if name.startswith("v.")]

    def number(self, value: Any, dtype: Any = F) -> str:
        """A constant, as an initializer."""
        self.made += 1
        self.proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), f"n{self.made}"))
        return f"n{self.made}"

    def op(self, kind: str, *inputs: Any, out: str = "", **attributes: Any) -> str:
        """A node of one output; inputs are tensors, or numbers (float32)."""
        names = [name if isinstance(name, str) else self.number(name) for name in inputs]
        self.made += 1
        out = out or f"t{self.made}"
        self.proto.graph.node.append(helper.make_node(kind, names, [out], f"{kind}.{self.made}", **attributes))
        return out

    def read_instead(self, tensor: str, make: Callable[[str], str]) -> None:
        """Whoever read `tensor` reads make(tensor)."""
        readers = list(self.proto.graph.node)
        new = make(tensor)
        for node in readers:
            node.input[:] = [new if name == tensor else name for name in node.input]

    def give_instead(self, tensor: str, make: Callable[[str], str]) -> None:
        """An output, or any tensor that a node makes, becomes make(what it was); its readers read the new one."""
        for node in self.proto.graph.node:
            node.output[:] = [f"{tensor}.was" if name == tensor else name for name in node.output]
        self.op("Identity", make(f"{tensor}.was"), out=tensor)

    def row_numbers(self, like: str, dims: int) -> str:
        """int64 [B, 1, ...] of `dims` axes: the number of each row."""
        shape = self.op("Shape", like)
        count = self.op("Gather", shape, self.number(0, np.int64))
        rows = self.op("Range", self.number(0, np.int64), count, self.number(1, np.int64))
        return self.op("Reshape", rows, self.number([-1] + [1] * (dims - 1), np.int64))

    def total(self, tensor: str, kind: str = "ReduceSum", whole: bool = False, dims: int = 4) -> str:
        """[B, 1, ...]: over each row, or over all rows where `whole`."""
        axes = [*range(0 if whole else 1, dims)]
        return self.op(kind, tensor, self.number(axes, np.int64), keepdims=1)

    def per_row(self, tensor: str) -> str:
        """[B, 1] of [B, 1, 1, 1]."""
        return self.op("Reshape", tensor, self.number([-1, 1], np.int64))

    def float_of(self, condition: str) -> str:
        return self.op("Cast", condition, to=TensorProto.FLOAT)

    def sort(self) -> None:
        """The nodes in an order in which each comes after what it reads."""
        known = {*self.inputs, *(i.name for i in self.proto.graph.initializer), ""}
        waiting = list(self.proto.graph.node)
        del self.proto.graph.node[:]
        while waiting:
            ready = [node for node in waiting if all(name in known for name in node.input)]
            assert ready, [node.name for node in waiting]
            self.proto.graph.node.append(ready[0])
            known |= set(ready[0].output)
            waiting.remove(ready[0])


def graph(target: str = "onnx", expected: str = "refused") -> Callable[[Any], Any]:
    """Enters a function of a Graph as an attack on an ONNX file."""

    def enter(change: Callable[[Graph], None]) -> Callable[[Graph], None]:
        @model(expected, target)
        @wraps(change)
        def changed(proto: Proto) -> None:
            g = Graph(proto)
            change(g)
            g.sort()

        return change

    return enter


def rank(g: Graph, state: str) -> int:
    return next(len(i.type.tensor_type.shape.dim) for i in g.proto.graph.input if i.name == state)


def model(expected: str = "refused", target: str = "onnx") -> Callable[[Any], Any]:
    """Enters a function of a ModelProto, whose nodes keep their order."""

    def enter(change: Callable[[Proto], None]) -> Callable[[Proto], None]:
        def changed(path: Path) -> None:
            proto = onnx.load(path)
            change(proto)
            path.write_bytes(proto.SerializeToString())
            reseal(path)

        changed.__doc__ = change.__doc__
        attack(target, expected, change.__name__)(changed)
        return change

    return enter


def tensor(proto: Proto, name: str) -> TensorProto:
    return next(i for i in proto.graph.initializer if i.name == name)


def weights(proto: Proto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    found = tensor(proto, name)
    old = numpy_helper.to_array(found).copy()
    found.CopyFrom(numpy_helper.from_array(change(old).astype(old.dtype).reshape(old.shape), name))


def node(proto: Proto, kind: str, number: int = 0) -> onnx.NodeProto:
    return [n for n in proto.graph.node if n.op_type == kind][number]


def ulps(n: int, at: str = "largest") -> Callable[[np.ndarray], np.ndarray]:
    """One number, or all, n units in the last place further from 0."""

    def change(w: np.ndarray) -> np.ndarray:
        bits = np.ascontiguousarray(w, np.float32).view(np.int32)
        if at == "all":
            bits[w != 0] += n
        else:
            bits[np.unravel_index(np.abs(w).argmax(), w.shape)] += n
        return w

    return change


def bonus(g: Graph, y: str, where: str, much: float, index: int = 0) -> str:
    """y with `much` more for one class in the rows of `where` (bool [B, 1])."""
    classes = next(o.type.tensor_type.shape.dim[1].dim_value for o in g.proto.graph.output if o.name == "y")
    one = np.zeros((1, classes), F)
    one[0, index] = much
    return g.op("Add", y, g.op("Mul", g.float_of(where), g.number(one)))
