"""What stands between layers: shapes, parts of tensors, arithmetic, softmax (lower_calls.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from plif_export.readers.lower_calls import LOWER, Call, GraphTensor, Made, lowers
from plif_export.readers.neuron_program import constant
from plif_export.readers.nodes import Node
from plif_export.readers.rules import Unsupported, require

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
    known = whole.name in ("unbind", "split", "split_with_sizes")
    require(known, f"{whole.name}() is not exported", "use layers of the list")
    axis = (inner.get(2, 0) if whole.name != "unbind" else inner.get(1, 0)) % len(source.shape)
    if whole.name == "unbind":
        return _part(c, source, axis, i, i + 1)
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
    factors = c.get(3 if linear else 2) if c.node.op._overloadname == "vec" else None
    whole = factors is None or all(
        n * f == m for n, f, m in zip(c.tensor(0).shape[1:], factors, c.out[1:], strict=True)
    )
    require(whole, f"scale_factor {factors} makes no whole size of {list(c.tensor(0).shape)}", "give it the size")
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
