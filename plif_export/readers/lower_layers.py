"""Operations of PyTorch on the tensors of one step, as nodes of the graph: one entry in LOWER for each.

An entry takes a `Call` and gives a `Made`: an operation of the graph with its inputs, attributes, parameters and shape, or a tensor
that exists. `call.tensor(i)` is an argument that moves, as a tensor of the graph; `call.array(i)` one that is static. To add an
operation, write a function and enter it; docs/other-libraries.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from plif_export.readers.layers import adaptive_pool, avg_pool_attrs, conv_attrs, padding_sizes, plain, pool_attrs
from plif_export.readers.neuron_program import constant
from plif_export.readers.record import Node
from plif_export.readers.rules import Unsupported, require
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


# --- layers with weights ------------------------------------------------------------------------------------------------


@lowers("conv1d", "conv2d")
def _conv(c: Call) -> Made:
    weight = c.array(1)
    dims = weight.ndim - 2
    stride, padding, dilation, groups = c.get(3, 1), c.get(4, 0), c.get(5, 1), c.get(6, 1)
    dilation = [dilation] * dims if isinstance(dilation, int) else list(dilation)
    padding = padding_sizes(padding, dilation, weight.shape[2:])
    attrs = conv_attrs(
        _one_each(stride, dims), _one_each(padding, dims), groups, dilation * (dims // len(dilation)), dims
    )
    return Made("Conv", (c.tensor(0),), attrs, _weights(c, weight, 2))


def _one_each(values: Any, dims: int) -> Any:
    return values if isinstance(values, int) or len(values) == dims else [values[0]] * dims


@lowers("conv_transpose1d", "conv_transpose2d")
def _conv_transpose(c: Call) -> Made:
    weight = c.array(1)
    dims = weight.ndim - 2
    names = ("stride", "padding", "output_padding", "groups", "dilation")
    given = [c.get(i, default) for i, default in ((3, 1), (4, 0), (5, 0), (6, 1), (7, 1))]
    attrs = {n: g if n == "groups" else plain(_one_each(g, dims), dims) for n, g in zip(names, given, strict=True)}
    return Made("ConvTranspose", (c.tensor(0),), attrs, _weights(c, weight, 2))


def _weights(c: Call, weight: np.ndarray, bias: int) -> dict[str, np.ndarray]:
    params = {"weight": np.ascontiguousarray(weight)}
    if c.get(bias) is not None:
        params["bias"] = c.array(bias, "its bias")
    return params


@lowers("linear")
def _linear(c: Call) -> Made:
    return Made("Linear", (c.tensor(0),), {}, _weights(c, c.array(1), 2))


@lowers("addmm")
def _addmm(c: Call) -> Made:
    require(c.get(3, 1) == 1 and c.get(4, 1) == 1, "addmm with factors", "multiply before adding")
    return Made(
        "Linear", (c.tensor(1),), {}, {"weight": np.ascontiguousarray(c.array(2).T), "bias": c.array(0, "its bias")}
    )


@lowers("matmul", "mm", "bmm")
def _matmul(c: Call) -> Made:
    if c.moves(0) and not c.moves(1):
        weight = c.array(1)
        require(weight.ndim == 2, f"a product with an array {list(weight.shape)}", "use one matrix for all")
        return Made("Linear", (c.tensor(0),), {}, {"weight": np.ascontiguousarray(weight.T)})
    require(c.moves(0) and c.moves(1), "a matrix times a tensor of the network", "write x @ W, or use nn.Linear")
    a, b = c.tensor(0), c.tensor(1)
    require(
        len(a.shape) == len(b.shape) >= 2,
        f"it multiplies {list(a.shape)} and {list(b.shape)}",
        "give both as many axes",
    )
    return Made("MatMul", (a, b))


@lowers("einsum")
def _einsum(c: Call) -> Made:
    equation, (a, b) = c.get(0).replace(" ", ""), c.get(1)
    left, _, result = equation.partition("->")
    one, two = left.split(",")
    swapped = not a.moves
    if swapped:
        a, b, one, two = b, a, two, one
    fits = not b.moves and len(two) == 2 and two.replace(one[-1], "") + one[:-1] != "" and one[-1] in two
    out = two.replace(one[-1], "")
    require(fits and result == one[:-1] + out, f"einsum '{equation}'", "use nn.Linear, or torch.matmul")
    weight = c.value(b)
    return Made(
        "Linear", (c.shaped(a),), {}, {"weight": np.ascontiguousarray(weight if two[1] == one[-1] else weight.T)}
    )


@lowers("batch_norm")
def _batch_norm(c: Call) -> Made:
    require(
        not c.get(5) and c.get(3) is not None,
        "it has no running statistics, so that a sample depends on its batch",
        "train with track_running_stats=True",
    )
    mean, var = c.array(3), c.array(4)
    weight = np.ones_like(mean) if c.get(1) is None else c.array(1)
    bias = np.zeros_like(mean) if c.get(2) is None else c.array(2)
    params = {"weight": weight, "bias": bias, "mean": mean, "var": var}
    return Made("BatchNorm", (c.tensor(0),), {"eps": float(c.get(7, 1e-5))}, params)


@lowers("layer_norm")
def _layer_norm(c: Call) -> Made:
    shape = tuple(c.get(1))
    params = {"weight": np.ones(shape, np.float32) if c.get(2) is None else c.array(2)}
    if c.get(3) is not None:
        params["bias"] = c.array(3)
    return Made("LayerNorm", (c.tensor(0),), {"eps": float(c.get(4, 1e-5)), "axes": len(shape)}, params)


# --- pooling -----------------------------------------------------------------------------------------------------------


@lowers("max_pool1d", "max_pool2d")
def _max_pool(c: Call) -> Made:
    x = c.tensor(0)
    attrs = pool_attrs(c.get(1), c.get(2) or c.get(1), c.get(3, 0), x.shape, bool(c.get(5, False)), c.get(4, 1))
    return Made("MaxPool", (x,), attrs)


@lowers("max_pool2d_with_indices")
def _max_pool_with_indices(c: Call) -> Made:
    return _max_pool(c)


@lowers("avg_pool1d", "avg_pool2d")
def _avg_pool(c: Call) -> Made:
    source = c.get(0)
    kernel, stride = c.get(1), c.get(2) or c.get(1)
    if c.node.name == "avg_pool1d" and source.shape[1] == 1:
        vector = c.made(source)
        if len(vector.shape) == 1:
            return _vote(vector, kernel, stride)
    x = c.tensor(0)
    require(c.get(6) is None, "divisor_override is set", "scale the next layer's weights")
    attrs = avg_pool_attrs(kernel, stride, c.get(3, 0), x.shape, bool(c.get(4, False)), bool(c.get(5, True)))
    return Made("AvgPool", (x,), attrs)


def _vote(x: GraphTensor, kernel: Any, stride: Any) -> Made:
    """Average pooling over a vector, as [B, 1, n] -> [B, 1, n / kernel]: neighbouring neurons vote."""
    k, s = (v if isinstance(v, int) else v[0] for v in (kernel, stride))
    require(
        k == s and x.shape[0] % k == 0, f"a vote of {k} every {s} over {x.shape[0]}", "let every class have k voters"
    )
    return Made("Vote", (x,), {"voters": int(k)}, shape=(x.shape[0] // k,))


@lowers("adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive(c: Call) -> Made:
    x = c.tensor(0)
    op, attrs = adaptive_pool(x.shape, c.out)
    return Made(op, (x,), attrs)


@lowers("mean", "sum", "amax", "max")
def _reduce(c: Call) -> Made | GraphTensor:
    how = {"amax": "max"}.get(c.node.name, c.node.name)
    source, dims, keep = c.get(0), c.get(1), bool(c.get(2, False))
    rank = len(source.shape)
    require(dims is not None, f"{how} over everything", f"name the axes: {how}(dim=...)")
    axes = sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims)) or list(range(rank))
    require(0 not in axes, f"{how} over the batch", "keep the batch: a sample must not depend on another")
    vector = c.made(source)
    if how == "mean" and len(vector.shape) == 1 and rank == 3 and axes == [2]:  # x.view(B, classes, k).mean(-1)
        k = source.shape[2]
        return Made("Vote", (vector,), {"voters": k}, shape=(vector.shape[0] // k,))
    x = c.tensor(0)
    if how == "mean" and axes == list(range(2, rank)) and rank in (3, 4):
        return Made("GlobalAvgPool", (x,), shape=(x.shape[0], *(1,) * (rank - 2)))
    return Made("Reduce", (x,), {"how": how, "axes": axes, "keepdims": keep}, shape=c.out)


# --- shapes -----------------------------------------------------------------------------------------------------------


@lowers("reshape")
def _reshape(c: Call) -> GraphTensor:
    return c.made(c.get(0))  # reshaped where it is read in another shape


@lowers("permute")
def _permute(c: Call) -> Made:
    axes = [int(i) for i in c.get(1)]
    require(axes[0] == 0, "it moves the batch from the first axis", "keep the batch first")
    return Made("Permute", (c.tensor(0),), {"axes": axes})


@lowers("cat")
def _cat(c: Call) -> Made:
    parts = c.get(0)
    axis = c.get(1, 0) % len(c.node.shape)
    require(
        all(p.moves for p in parts), "it joins something that is not a tensor of the network", "join spikes or currents"
    )
    require(axis != 0, "it joins along the batch", "join channels: dim=1")
    return Made("Concat", tuple(c.shaped(p) for p in parts), {"axis": axis})


@lowers("slice", "select")
def _slice(c: Call) -> Made:
    source = c.get(0)
    axis = c.get(1, 0) % len(source.shape)
    size = source.shape[axis]
    if c.node.name == "select":
        start, stop, step = c.get(2) % size, c.get(2) % size + 1, 1
    else:
        start, stop, step = slice(c.get(2), c.get(3), c.get(4, 1)).indices(size)
    return _part(c, source, axis, start, stop, step)


def _part(c: Call, source: Node, axis: int, start: int, stop: int, step: int = 1) -> Made:
    require(axis != 0, "it takes rows of the batch", "keep the batch whole")
    x = c.shaped(source)
    shape = list(x.shape)
    shape[axis - 1] = len(range(start, stop, step))
    return Made("Slice", (x,), {"axis": axis, "start": start, "stop": stop, "step": step}, shape=tuple(shape))


@lowers("part")
def _parted(c: Call) -> Made | GraphTensor:
    """A part of what an operation returned: of split, chunk, unbind, or of max and pooling with indices."""
    whole, i = c.get(0), int(c.node.op)
    source = whole.args[0]
    inner = Call(whole, c.made, c.value, c.enter)
    if whole.name in ("max", "max_pool2d_with_indices") and i == 0:
        return LOWER[whole.name](inner)
    axis = (inner.get(2, 0) if whole.name != "unbind" else inner.get(1, 0)) % len(source.shape)
    if whole.name == "unbind":
        return _part(c, source, axis, i, i + 1)
    require(whole.name in ("split", "split_with_sizes"), f"{whole.name}() is not exported", "use layers of the list")
    sizes = inner.get(1)
    sizes = [sizes] * (i + 1) if isinstance(sizes, int) else sizes
    return _part(c, source, axis, sum(sizes[:i]), min(sum(sizes[: i + 1]), source.shape[axis]))


@lowers("reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d", "constant_pad_nd")
def _pad(c: Call) -> Made:
    raise Unsupported(f"it pads by {c.node.name}()", "pad with zeros, as part of a convolution or pooling")


@lowers("upsample_nearest2d", "upsample_bilinear2d", "upsample_nearest1d", "upsample_linear1d")
def _resize(c: Call) -> Made:
    linear = "nearest" not in c.node.name
    attrs: dict[str, Any] = {"mode": "linear" if linear else "nearest"}
    if linear:
        attrs["align_corners"] = bool(c.get(2))
    return Made("Resize", (c.tensor(0),), attrs)


# --- between layers -----------------------------------------------------------------------------------------------------


def affine(x: GraphTensor, scale: Any, shift: Any) -> Made | GraphTensor:
    scale, shift = np.asarray(scale, np.float32), np.asarray(shift, np.float32)
    if scale.ndim == shift.ndim == 0 and scale == 1 and shift == 0:
        return x
    full = scale if scale.ndim >= shift.ndim else shift
    params = {"scale": np.broadcast_to(scale, full.shape), "shift": np.broadcast_to(shift, full.shape)}
    return Made("Affine", (x,), {}, {key: np.ascontiguousarray(value) for key, value in params.items()})


@lowers("add", "sub", "rsub", "mul", "div")
def _arithmetic(c: Call) -> Made | GraphTensor:
    name, alpha = c.node.name, c.get(2, 1)
    if name == "div":
        require(c.get(2) is None, "a division that rounds", "divide, and round in a neuron")
    else:
        require(name == "mul" or alpha in (1, -1), f"{name} with alpha={alpha}", "multiply before adding")
    if name in ("add", "sub", "rsub") and alpha == -1:
        name = {"add": "sub", "sub": "add", "rsub": "add"}[name]
    a, b = (1, 0) if name == "rsub" else (0, 1)
    name = "sub" if name == "rsub" else name
    if c.moves(a) and c.moves(b):
        ops = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div"}
        return Made(ops[name], (_whole(c, a), _whole(c, b)))
    if not (c.moves(a) or c.moves(b)):
        raise Unsupported("it works on no tensor of the network", "compute constants before")
    moving, other = (a, b) if c.moves(a) else (b, a)
    x = c.tensor(moving)
    given = c.get(other)
    n = constant_of(c, given, x)
    if name == "add":
        return affine(x, 1.0, n)
    if name == "mul":
        return affine(x, n, 0.0)
    if name == "sub":
        return affine(x, 1.0, -n) if moving == a else affine(x, -1.0, n)
    require(moving == a, "a division by a tensor", "divide by a number, or put it into the weights")
    return affine(x, np.float32(1) / n, 0.0)


def _whole(c: Call, i: int) -> GraphTensor:
    """An operand in as many axes as the result has."""
    node: Node = c.get(i)
    x = c.shaped(node)
    missing = len(c.node.shape) - len(node.shape)
    require(missing == 0, f"it joins {list(x.shape)} and {list(c.out)}", "give both as many axes")
    return x


def constant_of(c: Call, given: Any, x: GraphTensor) -> np.ndarray:
    if not isinstance(given, Node):
        return np.asarray(float(given), np.float32)
    require(c.out == x.shape, f"it joins {list(x.shape)} with a constant {list(given.shape)}", "give both one shape")
    return constant(torch.from_numpy(c.value(given)), x.shape)


@lowers("softmax", "_softmax", "_safe_softmax")
def _softmax(c: Call) -> Made:
    axis = c.get(1) % len(c.node.shape)
    require(axis != 0, "softmax over the batch", "use another axis")
    return Made("Softmax", (c.tensor(0),), {"axis": axis})


@lowers("relu", "sigmoid", "tanh", "exp", "neg", "abs", "sqrt")
def _unary(c: Call) -> Made:
    return Made("Unary", (c.tensor(0),), {"function": c.node.name.capitalize()})


@lowers("expand")
def _expand(c: Call) -> Made | GraphTensor:
    x = c.tensor(0)
    require(x.shape == c.out, f"it repeats {list(x.shape)} to {list(c.out)}", "let + and * repeat it")
    return x
