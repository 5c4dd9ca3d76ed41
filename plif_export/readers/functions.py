"""Functions and methods that a live module's forward may call on tensors between its layers.

FUNCTIONS maps a function, or the name of a tensor method, to a reader: FunctionCall -> Result. A FunctionCall has the
arguments as the graph knows them (a `GraphTensor` for a tensor, plain values for the rest) and the shape of what the
function returned.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from plif_export.readers.layers import adaptive_avg_pool, avg_pool_attrs, pool_attrs
from plif_export.readers.rules import Unsupported, require
from runtime.model.graph import Shape


@dataclass(frozen=True)
class GraphTensor:
    """A tensor of the graph: the node that computes it (or "x", the input), and its shape without the batch axis."""

    node: str
    shape: Shape
    lifted: bool = False  # [B, 1, n] of a vector [B, n]: what pooling over voters works on


@dataclass(frozen=True)
class NeuronState:
    """The state that a neuron layer returned beside its spikes. It may be handed on; computing with it is refused."""

    layer: str


@dataclass(frozen=True)
class Result:
    """What a call becomes: a node (op, inputs, attributes, float32 parameters), or `value`, which exists, when op is None."""

    op: str | None
    inputs: tuple[GraphTensor, ...] = ()
    attrs: dict[str, Any] | None = None
    params: dict[str, np.ndarray] | None = None
    value: Any = None
    lifted: bool = False


@dataclass(frozen=True)
class FunctionCall:
    """A call that the trace recorded, its tensors as GraphTensor."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    out: Shape  # of the tensor that it returned, without the batch axis
    batch_first: bool  # whether that tensor kept the batch as its first axis

    def get(self, position: int, name: str, default: Any = None) -> Any:
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


Reader = Callable[[FunctionCall], Result]
FUNCTIONS: dict[Any, Reader] = {}


def register_function(function: Any, reader: Reader) -> None:
    FUNCTIONS[function] = reader


def same(value: Any) -> Result:
    """A call that leaves a value as it is, and becomes no node."""
    return Result(None, value=value)


def _arithmetic(op: str, scalar: Callable[[float], tuple[float, float]]) -> Reader:
    """The reader of an operation on two tensors of one shape, or on a tensor x and a number c.

    scalar  c -> (scale, shift) with x op c = scale * x + shift
    """

    def read(call: FunctionCall) -> Result:
        a, b = call.args[:2]
        require(not call.kwargs.get("alpha"), "alpha=...", "multiply before adding")
        if isinstance(a, GraphTensor) and isinstance(b, GraphTensor):
            require(
                a.shape == b.shape,
                f"it joins {list(a.shape)} and {list(b.shape)}",
                "give both the same shape: no broadcasting",
            )
            return Result(op, (a, b), {})
        tensor, number = (a, b) if isinstance(a, GraphTensor) else (b, a)
        return affine(tensor, number, *scalar(_as_number(number)))

    return read


def affine(tensor: Any, number: Any, scale: float, shift: float) -> Result:
    """scale * tensor + shift as a node. Refuses what is no tensor of the graph."""
    require(
        isinstance(tensor, GraphTensor),
        "it computes with a neuron's state",
        "use the spikes only, or register the neuron",
    )
    if scale == 1 and shift == 0:
        return same(tensor)
    return Result("Affine", (tensor,), {}, {"scale": np.array(scale, np.float32), "shift": np.array(shift, np.float32)})


def _as_number(value: Any) -> float:
    if isinstance(value, NeuronState):
        raise Unsupported("it computes with a neuron's state", "use the spikes only, or register the neuron")
    require(
        isinstance(value, float | int), f"it computes with a {type(value).__name__}", "use tensors and plain numbers"
    )
    return float(value)


def _subtract(call: FunctionCall) -> Result:
    a, b = call.args[:2]
    if isinstance(a, GraphTensor) and isinstance(b, GraphTensor):
        raise Unsupported("one tensor minus another", "negate the weights that make it, and add")
    if isinstance(a, GraphTensor):
        return affine(a, b, 1.0, -_as_number(b))
    return affine(b, a, -1.0, _as_number(a))


def _divide(call: FunctionCall) -> Result:
    a, b = call.args[:2]
    require(isinstance(a, GraphTensor), "a division by a tensor", "divide by a number, or put it into the weights")
    number = _as_number(b)
    return affine(a, b, 1.0 / number, 0.0)


def _cat(call: FunctionCall) -> Result:
    tensors, dim = call.args[0], call.get(1, "dim", call.kwargs.get("axis", 0))
    require(
        all(isinstance(t, GraphTensor) for t in tensors),
        "it joins something that is not a tensor",
        "join spikes or currents",
    )
    dims = len(tensors[0].shape) + 1
    axis = dim % dims
    require(axis != 0, "it joins along the batch", "join channels: dim=1")
    return Result("Concat", tuple(tensors), {"axis": axis})


def _reshape(call: FunctionCall) -> Result:
    x = call.args[0]
    require(
        call.batch_first and len(call.out) == 1,
        f"it makes {list(call.out)} of {list(getattr(x, 'shape', ()))}",
        "only flattening all axes but the batch is exported: x.flatten(1)",
    )
    return same(x) if len(x.shape) == 1 else Result("Flatten", (x,), {})


def _lift(call: FunctionCall) -> Result:
    x, dim = call.args[0], call.get(1, "dim")
    require(
        len(x.shape) == 1 and dim in (1, -2),
        f"unsqueeze({dim})",
        "only x.unsqueeze(1) of a vector, for a vote, is exported",
    )
    return same(GraphTensor(x.node, x.shape, lifted=True))


def _unlift(call: FunctionCall) -> Result:
    x, dim = call.args[0], call.get(1, "dim")
    if x.lifted and dim in (1, -2):
        return same(GraphTensor(x.node, x.shape))
    require(call.batch_first and len(call.out) == 1, f"squeeze({dim})", "flatten instead: x.flatten(1)")
    return Result("Flatten", (x,), {})


def vote(x: GraphTensor, kernel: Any, stride: Any) -> Result:
    """Average pooling over a lifted vector, float32 [B, 1, n] -> [B, 1, n / kernel]: neighbouring neurons vote."""
    k = kernel if isinstance(kernel, int) else kernel[0]
    s = k if stride in (None, ()) else stride if isinstance(stride, int) else stride[0]
    require(
        k == s and x.shape[0] % k == 0, f"a vote of {k} every {s} over {x.shape[0]}", "let every class have k voters"
    )
    return Result("Vote", (x,), {"voters": k}, lifted=True)


def _avg_pool(call: FunctionCall) -> Result:
    x = call.args[0]
    kernel, stride = call.get(1, "kernel_size"), call.get(2, "stride")
    if x.lifted:
        return vote(x, kernel, stride)
    padding, ceil_mode = call.get(3, "padding", 0), bool(call.get(4, "ceil_mode", False))
    count_include_pad = bool(call.get(5, "count_include_pad", True))
    return Result("AvgPool", (x,), avg_pool_attrs(kernel, stride, padding, x.shape, ceil_mode, count_include_pad))


def _max_pool(call: FunctionCall) -> Result:
    x = call.args[0]
    attrs = pool_attrs(
        call.get(1, "kernel_size"),
        call.get(2, "stride"),
        call.get(3, "padding", 0),
        x.shape,
        bool(call.kwargs.get("ceil_mode", False)),
        call.get(4, "dilation", 1),
    )
    return Result("MaxPool", (x,), attrs)


def _adaptive(call: FunctionCall) -> Result:
    x = call.args[0]
    op, attrs, _ = adaptive_avg_pool(None, x.shape, call.out)
    return Result(op, (x,), attrs)


def _identity(call: FunctionCall) -> Result:
    return same(call.args[0])


for _function in (operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__radd__"):
    register_function(_function, _arithmetic("Add", lambda c: (1.0, c)))
for _function in (operator.mul, operator.imul, torch.mul, "mul", "mul_", torch.multiply):
    register_function(_function, _arithmetic("Mul", lambda c: (c, 0.0)))
for _function in (operator.sub, operator.isub, torch.sub, "sub", "__rsub__", torch.rsub):
    register_function(_function, _subtract)
for _function in (operator.truediv, torch.div, "div"):
    register_function(_function, _divide)
for _function in (torch.cat, torch.concat, torch.concatenate):
    register_function(_function, _cat)
for _function in (torch.flatten, torch.reshape, "flatten", "reshape", "view"):
    register_function(_function, _reshape)
for _function in (torch.unsqueeze, "unsqueeze"):
    register_function(_function, _lift)
for _function in (torch.squeeze, "squeeze"):
    register_function(_function, _unlift)
for _function in (F.avg_pool1d, F.avg_pool2d):
    register_function(_function, _avg_pool)
for _function in (F.max_pool1d, F.max_pool2d, torch.max_pool1d, torch.max_pool2d):
    register_function(_function, _max_pool)
for _function in (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d):
    register_function(_function, _adaptive)
for _function in (F.dropout, F.dropout1d, F.dropout2d, "contiguous", "clone", "detach", "float"):
    register_function(_function, _identity)
