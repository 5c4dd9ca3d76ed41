"""Arithmetic between values, and functions of them, element by element.

Add Mul Sub Div   two values or more (Sub and Div: two); axes of size 1 are repeated
Unary             a function, one of UNARY (runtime/core/model/ops/operation.py)
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from math import prod

import numpy as np
import numpy.typing as npt

from runtime.core.model.ops.operation import Counts, GraphTensor, NewNode, Node, Shape, Value, names, register
from runtime.core.model.ops.ports import OnnxEmitter, TorchCall
from runtime.core.model.refusals import Unsupported, require


def _joined(by: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda m, node, p, *values: reduce(by, values)


def _fits(two: bool) -> Callable[[Node, Sequence[Shape]], str | None]:
    def fits(node: Node, shapes: Sequence[Shape]) -> str | None:
        if any(len(shape) != len(node.shape) for shape in shapes):
            return f"joins {[list(s) for s in shapes]}; expected as many axes in each: put a Reshape before it"
        return f"has {len(shapes)} inputs; expected 2" if two and len(shapes) != 2 else None

    return fits


def _added(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts | None:
    return Counts(sum(c.most for c in of), of[0].area) if len({c.area for c in of}) == 1 else None


def _multiplied(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts:
    return Counts(prod(c.most for c in of), prod(c.area for c in of))


# --- ONNX ------------------------------------------------------------------------------------------------------------------


def _from_the_left(op: str) -> Callable[..., str]:
    """Several inputs two by two, in the order in which PyTorch adds them."""

    def write(e: OnnxEmitter, node: Node, left: str, *others: str) -> str:
        for i, right in enumerate(others, 1):
            left = e.op(op, [left, right], node.name if i == len(others) else f"{node.name}.{i}")
        return left

    return write


# --- PyTorch ---------------------------------------------------------------------------------------------------------------


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


for _name, _by, _two, _more in (
    ("Add", operator.add, False, {"torch": names("add sub rsub mul div", _read_arithmetic), "counts": _added}),
    ("Mul", operator.mul, False, {"counts": _multiplied}),
    ("Sub", operator.sub, True, {}),
    ("Div", operator.truediv, True, {"measured": True}),
):
    register(_name, _joined(_by), fits=_fits(_two), reads_constants=True, onnx=_from_the_left(_name), **_more)
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
