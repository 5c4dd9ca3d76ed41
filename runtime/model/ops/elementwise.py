"""What works element by element: arithmetic between values, with numbers, and functions.

Add Mul Sub Div   two values or more (Sub and Div: two); axes of size 1 are repeated
Affine            x * scale + shift, one number each, or one for each channel or each neuron
BatchNorm         (x - mean) * (weight / sqrt(var + eps)) + bias, with running statistics
Unary             one of UNARY
Dropout           nothing, after training
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from math import prod
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.model.ops.operation import (
    Backend,
    Counts,
    GraphTensor,
    NewNode,
    Node,
    Params,
    Shape,
    Value,
    first,
    names,
    register,
)
from runtime.model.ops.ports import NirReader, NirWriter, OnnxEmitter, Read, TorchCall
from runtime.model.refusals import Unsupported, require

UNARY = ("Relu", "Sigmoid", "Tanh", "Exp", "Neg", "Abs", "Sqrt")


def _joined(by: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda m, node, p, *values: reduce(by, values)


def _batch_norm(m: Backend, node: Node, p: Params, x: Value) -> Value:
    eps = node.attrs["eps"]
    scale = m.once(lambda weight, var: weight / np.sqrt(var + var.dtype.type(eps)), p["weight"], p["var"])
    return (x - m.beside(p["mean"], node.shape)) * m.beside(scale, node.shape) + m.beside(p["bias"], node.shape)


def _affine(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return x * m.beside(p["scale"], node.shape) + m.beside(p["shift"], node.shape)


def _fits(two: bool) -> Callable[[Node, Sequence[Shape]], str | None]:
    def fits(node: Node, shapes: Sequence[Shape]) -> str | None:
        if any(len(shape) != len(node.shape) for shape in shapes):
            return f"joins {[list(s) for s in shapes]}; expected as many axes in each: put a Reshape before it"
        return f"has {len(shapes)} inputs; expected 2" if two and len(shapes) != 2 else None

    return fits


# --- counts -------------------------------------------------------------------------------------------------------------


def _added(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts | None:
    return Counts(sum(c.most for c in of), of[0].area) if len({c.area for c in of}) == 1 else None


def _multiplied(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts:
    return Counts(prod(c.most for c in of), prod(c.area for c in of))


def _negated(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts | None:
    """1 - s, with which SEW-ResNet joins by "and not"."""
    turned = np.all(node.params["scale"] == -1) and np.all(node.params["shift"] == 1)
    return of[0] if turned and of[0] == Counts() else None


# --- ONNX ---------------------------------------------------------------------------------------------------------------


def from_the_left(op: str) -> Callable[..., str]:
    """Several inputs two by two, in the order in which PyTorch adds them."""

    def write(e: OnnxEmitter, node: Node, left: str, *others: str) -> str:
        for i, right in enumerate(others, 1):
            left = e.op(op, [left, right], node.name if i == len(others) else f"{node.name}.{i}")
        return left

    return write


def _affine_onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    scale, shift = (e.beside(f"{node.name}.{key}", node.params[key], node.shape) for key in ("scale", "shift"))
    return str(e.op("Add", [e.op("Mul", [x, scale], f"{node.name}.scaled"), shift], node.name))


# --- PyTorch ------------------------------------------------------------------------------------------------------------


def _read_arithmetic(c: TorchCall) -> NewNode | GraphTensor:
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
        return NewNode(name.capitalize(), (_whole(c, a), _whole(c, b)))
    if not (c.moves(a) or c.moves(b)):
        raise Unsupported("it works on no tensor of the network", "compute constants before")
    moving, other = (a, b) if c.moves(a) else (b, a)
    x = c.tensor(moving)
    n = c.number(other, x)
    if name == "add":
        return _with_numbers(x, 1.0, n)
    if name == "mul":
        return _with_numbers(x, n, 0.0)
    if name == "sub":
        return _with_numbers(x, 1.0, -n) if moving == a else _with_numbers(x, -1.0, n)
    require(moving == a, "a division by a tensor", "divide by a number, or put it into the weights")
    return _with_numbers(x, np.float32(1) / n, 0.0)


def _with_numbers(x: GraphTensor, scale: npt.ArrayLike, shift: npt.ArrayLike) -> NewNode | GraphTensor:
    scale, shift = np.asarray(scale, np.float32), np.asarray(shift, np.float32)
    if scale.ndim == shift.ndim == 0 and scale == 1 and shift == 0:
        return x
    full = scale if scale.ndim >= shift.ndim else shift
    params = {"scale": np.broadcast_to(scale, full.shape), "shift": np.broadcast_to(shift, full.shape)}
    return NewNode("Affine", (x,), {}, {key: np.ascontiguousarray(value) for key, value in params.items()})


def _whole(c: TorchCall, i: int) -> GraphTensor:
    """An operand in as many axes as the result has."""
    x: GraphTensor = c.shaped(c.get(i))
    missing = len(c.node.shape) - len(c.get(i).shape)
    require(missing == 0, f"it joins {list(x.shape)} and {list(c.out)}", "give both as many axes")
    return x


def _read_batch_norm(c: TorchCall) -> NewNode:
    require(
        not c.get(5) and c.get(3) is not None,
        "it has no running statistics, so that a sample depends on its batch",
        "train with track_running_stats=True",
    )
    mean, var = c.array(3), c.array(4)
    weight = np.ones_like(mean) if c.get(1) is None else c.array(1)
    bias = np.zeros_like(mean) if c.get(2) is None else c.array(2)
    params = {"weight": weight, "bias": bias, "mean": mean, "var": var}
    return NewNode("BatchNorm", (c.tensor(0),), {"eps": float(c.get(7, 1e-5))}, params)


# --- NIR ----------------------------------------------------------------------------------------------------------------


def _scale_of_nir(r: NirReader, name: str, node: Any, x: str, shape: Shape) -> Read:
    scale = r.collapsed(node.scale, shape, "scale")
    return r.layer(name, "Affine", x, shape, {}, {"scale": scale, "shift": np.zeros_like(scale)})


def _scale_to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "put batch normalisation behind a convolution or linear layer"
    require(not np.any(node.params["shift"]), "NIR scales a map, but does not shift it", advice)
    return nir.Scale(options.full(node.params["scale"], node.shape))


def _mul_to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    raise Unsupported("NIR cannot multiply values", "add them (residual addition), or use --to onnx")


for _name, _by, _two, _more in (
    ("Add", operator.add, False, {"torch": names("add sub rsub mul div", _read_arithmetic), "counts": _added}),
    ("Mul", operator.mul, False, {"counts": _multiplied, "to_nir": _mul_to_nir}),
    ("Sub", operator.sub, True, {}),
    ("Div", operator.truediv, True, {"measured": True}),
):
    register(_name, _joined(_by), fits=_fits(_two), reads_constants=True, onnx=from_the_left(_name), **_more)
register(
    "BatchNorm",
    _batch_norm,
    attrs=("eps",),
    params=("weight", "bias", "mean", "var"),
    torch=names("batch_norm", _read_batch_norm),
    layer=("batch_norm", "weight bias running_mean running_var in_training momentum eps"),
)
register(
    "Affine",
    _affine,
    params=("scale", "shift"),
    onnx=_affine_onnx,
    nir={"Scale": _scale_of_nir},
    to_nir=_scale_to_nir,
    counts=_negated,
)
register(
    "Unary",
    lambda m, node, p, x: m.op(node.attrs["function"], x),
    attrs=("function",),
    onnx=lambda e, node, x: e.op(node.attrs["function"], [x], node.name),
    torch=names(
        "relu sigmoid tanh exp neg abs sqrt",
        lambda c: NewNode("Unary", (c.tensor(0),), {"function": c.node.name.capitalize()}),
    ),
    measured=True,
)
register("Dropout", lambda m, node, p, x: x, attrs=("p",), counts=first)
