"""Operations of PyTorch on the tensors of one step, as nodes of the graph: what an operation reads of its record.

A reader (Operation.torch of runtime/core/model/ops) takes a `RecordedCall` and gives a `NewNode`: an operation of the graph with
its inputs, attributes, parameters and shape, or a tensor that exists. `call.tensor(i)` is an argument that moves, as a tensor of
the graph; `call.array(i)` one that is static. docs/reading-modules.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from plif_export.core.readers.rules import Unsupported, require
from plif_export.readers.module.neuron_program import constant
from plif_export.readers.tracing.nodes import Argument, TraceNode, as_node, as_number
from runtime.core.model.graph import Shape
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import GraphTensor, NewNode


@dataclass
class RecordedCall:
    """One recorded operation.

    made      (node that moves) -> GraphTensor
    value     (static node) -> float32 array
    reshaped  (tensor, shape, node that it stands for) -> the tensor in that shape
    """

    node: TraceNode
    made: Callable[[TraceNode], GraphTensor]
    value: Callable[[TraceNode], np.ndarray]
    reshaped: Callable[[GraphTensor, Shape, TraceNode], GraphTensor]

    @property
    def out(self) -> Shape:
        return self.node.shape[1:]

    def get(self, i: int, default: Argument = None) -> Argument:
        return self.node.args[i] if len(self.node.args) > i else default

    def moves(self, i: int) -> bool:
        arg = self.get(i)
        return isinstance(arg, TraceNode) and arg.moves

    def tensor(self, i: int) -> GraphTensor:
        """An argument that moves, in the shape that it was recorded with."""
        arg = self.get(i)
        if not isinstance(arg, TraceNode):
            raise Unsupported("it works on no tensor of the network", "compute constants before")
        return self.shaped(arg)

    def shaped(self, node: TraceNode) -> GraphTensor:
        return self.reshaped(self.made(node), node.shape[1:], node)

    def of(self, node: TraceNode) -> RecordedCall:
        """The same of another recorded operation."""
        return RecordedCall(node, self.made, self.value, self.reshaped)

    def lowered(self) -> NewNode | GraphTensor:
        return LOWER[self.node.name](self)

    def number(self, i: int, x: GraphTensor) -> np.ndarray:
        """An argument that is static, beside x: one number [], one for each channel [C], or one for each neuron [*shape of x]."""
        given = self.get(i)
        if not isinstance(given, TraceNode):
            return np.asarray(as_number(given), np.float32)
        rule = f"it joins {list(x.shape)} with a constant {list(given.shape)}"
        require(self.out == x.shape, rule, "give both one shape")
        return constant(torch.from_numpy(self.value(given)), x.shape)

    def array(self, i: int, what: str = "its weight") -> np.ndarray:
        """An argument that is static, as it was recorded, [...] float32."""
        require(not self.moves(i), f"{what} depends on the input", "use a layer with weights of its own")
        return self.value(as_node(self.get(i)))


LOWER: dict[str, Callable[[RecordedCall], NewNode | GraphTensor]] = {
    name: read for operation in OPERATIONS.values() for name, read in operation.torch.items()
}
