"""The conversion of PyTorch operations on the tensors of one step into nodes of the graph.

A reader (Operation.torch of runtime/core/model/ops) gets a `RecordedCall` and returns a `NewNode`: an operation of
the graph with its inputs, attributes, parameters and shape, or an existing tensor. `call.tensor(i)` is an argument
that depends on the input, as a tensor of the graph; `call.array(i)` a constant one. docs/reading-modules.md lists
them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from plif_export.core.readers.rules import Unsupported, require
from plif_export.readers.step_program.neuron_program import pack_constant
from plif_export.readers.tracing.nodes import Argument, TraceNode, as_node, as_number
from runtime.core.model.graph import Shape
from runtime.core.model.ops import OPERATIONS
from runtime.core.model.ops.operation import GraphTensor, NewNode


@dataclass
class RecordedCall:
    """A recorded PyTorch operation that is being converted to the graph, with access to its arguments.

    made: (node that depends on the input) -> GraphTensor. value: (constant node) -> float32 array.
    reshaped: (tensor, shape, node that it stands for) -> the tensor in that shape.
    """

    node: TraceNode
    lower_node: Callable[[TraceNode], GraphTensor]
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
        """Return argument i of a recorded PyTorch operation, which depends on the network's input, as graph tensor."""
        arg = self.get(i)
        if not isinstance(arg, TraceNode):
            raise Unsupported("it works on no tensor of the network", "compute constants before")
        return self.shaped(arg)

    def shaped(self, node: TraceNode) -> GraphTensor:
        return self.reshaped(self.lower_node(node), node.shape[1:], node)

    def for_node(self, node: TraceNode) -> RecordedCall:
        """Return the RecordedCall of another recorded operation, to convert that to the graph in the same way."""
        return RecordedCall(node, self.lower_node, self.value, self.reshaped)

    def lowered(self) -> NewNode | GraphTensor:
        return LOWER[self.node.name](self)

    def number(self, i: int, x: GraphTensor) -> np.ndarray:
        """Return a constant argument that a recorded PyTorch operation combines with a tensor x, as float32 array.

        It is one number [], one for each channel [C], or one for each neuron [*shape of x].
        """
        argument = self.get(i)
        if not isinstance(argument, TraceNode):
            return np.asarray(as_number(argument), np.float32)
        rule = f"it joins {list(x.shape)} with a constant {list(argument.shape)}"
        require(self.out == x.shape, rule, "give both one shape")
        return pack_constant(torch.from_numpy(self.value(argument)), x.shape)

    def array(self, i: int, subject: str = "its weight") -> np.ndarray:
        """Return a constant argument of a recorded PyTorch operation, such as its weight, as float32 [...]."""
        require(not self.moves(i), f"{subject} depends on the input", "use a layer with weights of its own")
        return self.value(as_node(self.get(i)))


LOWER: dict[str, Callable[[RecordedCall], NewNode | GraphTensor]] = {
    name: read for operation in OPERATIONS.values() for name, read in operation.torch.items()
}
