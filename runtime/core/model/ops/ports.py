"""The interfaces through which an operation is read and written: PyTorch calls, and ONNX graphs.

plif_export implements them: readers/module and writers. Nothing of PyTorch or ONNX is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from runtime.core.model.ops.operation import GraphTensor, NewNode, Node, Shape


class RecordedNode(Protocol):
    """One recorded operation of PyTorch, such as add or conv2d.

    shape  of its output, [B, ...]
    moves  whether it depends on the input
    """

    op: Any  # a PyTorch operator, or an index into the output of another node
    args: tuple[Any, ...]
    shape: Shape
    moves: bool

    @property
    def name(self) -> str: ...


class TorchCall(Protocol):
    """One recorded PyTorch operation and its arguments, by number: the argument of a reader."""

    node: RecordedNode
    out: Shape  # of its output, without the batch

    def get(self, i: int, default: Any = None, /) -> Any:
        """Return an argument of the PyTorch call as it was recorded: a RecordedNode, a number, a list, ..."""

    def moves(self, i: int, /) -> bool:
        """Return whether an argument of the PyTorch call depends on the network's input."""

    def tensor(self, i: int, /) -> GraphTensor:
        """Return an argument that depends on the network's input, as a graph tensor in its recorded shape."""

    def array(self, i: int, label: str = "its weight", /) -> np.ndarray:
        """Return an argument that does not depend on the network's input, as an array [...] of its recorded shape."""

    def number(self, i: int, x: GraphTensor, /) -> np.ndarray:
        """Return an argument that does not depend on the network's input, broadcast to x: [], [C] or [*x.shape]."""

    def lower_node(self, node: RecordedNode, /) -> GraphTensor: ...

    def shaped(self, node: RecordedNode, /) -> GraphTensor: ...

    def value(self, node: RecordedNode, /) -> np.ndarray:
        """Return the array [...] of a recorded PyTorch node that does not depend on the network's input."""

    def for_node(self, node: RecordedNode, /) -> TorchCall: ...

    def lowered(self) -> NewNode | GraphTensor: ...


def read_weights(call: TorchCall, weight: np.ndarray, bias: int) -> dict[str, np.ndarray]:
    """Read the parameters of a layer: weight [O, I, ...], and bias [O] if the call has one.

    bias  the number of the argument that holds the bias
    """
    params = {"weight": np.ascontiguousarray(weight)}
    if call.get(bias) is not None:
        params["bias"] = call.array(bias, "its bias")
    return params


class OnnxEmitter(Protocol):
    """A writer of ONNX nodes and initializers; its methods return the names of tensors."""

    initializers: Mapping[str, Any]
    shapes: Mapping[str, Shape]

    def op(self, op: str, inputs: Sequence[str], output: str, unused: int = 0, /, **attrs: object) -> str: ...

    def weight(self, name: str, value: np.ndarray, /) -> str:
        """Add an initializer [...] of any dtype to the ONNX graph, and return its name."""

    def parameters(self, node: Node, /) -> list[str]: ...

    def broadcast_weight(self, name: str, values: np.ndarray, shape: Sequence[int], /) -> str:
        """Add a parameter [], [C] or [*shape] to the ONNX graph, shaped to broadcast over [B, *shape]; return its name."""

    def matmul_axes(self, node: Node, x: str, matrix: Callable[[int, int], np.ndarray], /) -> str:
        """Add the product of a tensor with a matrix along each spatial axis to the ONNX graph, and return its name.

        matrix  (n inputs, m outputs) -> [m, n]
        """

    def emit_reduced(self, node: Node, x: str, place: dict[str, object], out: str | None = None, /) -> str: ...
