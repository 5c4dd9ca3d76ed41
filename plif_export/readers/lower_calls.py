"""Operations of PyTorch on the tensors of one step, as nodes of the graph: one entry in LOWER for each,
in lower_layers.py and lower_shapes.py.

An entry takes a `Call` and gives a `Made`: an operation of the graph with its inputs, attributes, parameters and shape, or a
tensor that exists. `call.tensor(i)` is an argument that moves, as a tensor of the graph; `call.array(i)` one that is static. To
add an operation, write a function and enter it; docs/other-libraries.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from plif_export.readers.nodes import Node
from plif_export.readers.rules import require
from runtime.model.graph import Shape


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of the graph: the node that makes it, or "x", and its shape without the batch."""

    node: str
    shape: Shape


@dataclass
class Made:
    """A node to be entered; shape None is that of the recorded result."""

    op: str
    inputs: tuple[GraphTensor, ...]
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, np.ndarray] = field(default_factory=dict)
    shape: Shape | None = None


@dataclass
class Call:
    """One recorded operation.

    made   (node that moves) -> GraphTensor; value: (static node) -> float32 array; enter: enters a Made, gives its tensor
    """

    node: Node
    made: Callable[[Node], GraphTensor]
    value: Callable[[Node], np.ndarray]
    enter: Callable[[Made, Node], GraphTensor]

    @property
    def out(self) -> Shape:
        return self.node.shape[1:]

    def get(self, i: int, default: Any = None) -> Any:
        return self.node.args[i] if len(self.node.args) > i else default

    def moves(self, i: int) -> bool:
        return isinstance(self.get(i), Node) and self.get(i).moves

    def tensor(self, i: int) -> GraphTensor:
        """An argument that moves, in the shape that it was recorded with."""
        arg = self.get(i)
        require(isinstance(arg, Node), "it works on no tensor of the network", "compute constants before")
        return self.shaped(arg)

    def shaped(self, node: Node) -> GraphTensor:
        found = self.made(node)
        wanted = node.shape[1:]
        if found.shape == wanted:
            return found
        op = "Flatten" if len(wanted) == 1 else "Reshape"
        return self.enter(Made(op, (found,), shape=wanted), node)

    def array(self, i: int, what: str = "its weight") -> np.ndarray:
        require(not self.moves(i), f"{what} depends on the input", "use a layer with weights of its own")
        return self.value(self.get(i))


Lower = Callable[[Call], Made | GraphTensor]
LOWER: dict[str, Lower] = {}


def lowers(*names: str) -> Callable[[Lower], Lower]:
    def enter(function: Lower) -> Lower:
        LOWER.update(dict.fromkeys(names, function))
        return function

    return enter
