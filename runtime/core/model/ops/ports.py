"""What an operation of the graph meets where it is read or written: the calls of PyTorch, and ONNX graphs.

plif_export implements them: readers/module and writers. Nothing of PyTorch or ONNX is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from runtime.core.model.ops.operation import GraphTensor, NewNode, Node, Shape


class RecordedNode(Protocol):
    """An operation of PyTorch, as it was recorded. name: add, conv2d, ...; shape [B, ...] of what it gave."""

    op: Any  # PyTorch's own, or the number of a part of what another returned
    args: tuple[Any, ...]
    shape: Shape
    moves: bool

    @property
    def name(self) -> str: ...


class TorchCall(Protocol):
    """The argument of a reader of `Operation.torch`: the operation and its arguments, by number."""

    node: RecordedNode
    out: Shape  # of what it gave, without the batch

    def get(self, i: int, default: Any = None, /) -> Any:
        """An argument as it was recorded: a RecordedNode, a number, a list, ..."""

    def moves(self, i: int, /) -> bool:
        """Whether it depends on the input."""

    def tensor(self, i: int, /) -> GraphTensor:
        """One that moves, in the shape that it was recorded with."""

    def array(self, i: int, what: str = "its weight", /) -> np.ndarray:
        """One that is static, [...] as recorded."""

    def number(self, i: int, x: GraphTensor, /) -> np.ndarray:
        """One that is static, beside x: [], [C], or [*x.shape]"""

    def made(self, node: RecordedNode, /) -> GraphTensor: ...

    def shaped(self, node: RecordedNode, /) -> GraphTensor: ...

    def value(self, node: RecordedNode, /) -> np.ndarray:
        """What is static, [...] as recorded."""

    def of(self, node: RecordedNode, /) -> TorchCall: ...

    def lowered(self) -> NewNode | GraphTensor: ...


def weights(call: TorchCall, weight: np.ndarray, bias: int) -> dict[str, np.ndarray]:
    """The parameters of a layer: weight [O, I, ...], and the argument number `bias` [O] where there is one."""
    params = {"weight": np.ascontiguousarray(weight)}
    if call.get(bias) is not None:
        params["bias"] = call.array(bias, "its bias")
    return params


class OnnxEmitter(Protocol):
    """What writes an operation into an ONNX graph: methods enter nodes and initializers, and give the names of tensors."""

    initializers: Mapping[str, Any]
    shapes: Mapping[str, Shape]

    def op(self, op: str, inputs: Sequence[str], output: str, /, **attrs: object) -> str: ...

    def weight(self, name: str, value: np.ndarray, /) -> str:
        """An initializer [...] of any dtype."""

    def parameters(self, node: Node, /) -> list[str]: ...

    def beside(self, name: str, values: np.ndarray, shape: Sequence[int], /) -> str:
        """Numbers [], [C] or [*shape] that repeat over [B, *shape]."""

    def along(self, node: Node, x: str, matrix: Callable[[int, int], np.ndarray], /) -> str:
        """A product with matrix(n, m) [m, n] along each axis of space."""

    def reduced(self, node: Node, x: str, place: dict[str, object], out: str | None = None, /) -> str: ...
