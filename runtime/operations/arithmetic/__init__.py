"""The operations Add, Mul, Sub and Div between values, and unary functions, element by element.

Add Mul Sub Div   two values or more (Sub and Div: two); axes of size 1 are broadcast
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


def _fold(function: Callable[[Value, Value], Value]) -> Callable[..., Value]:
    return lambda m, node, p, *values: reduce(function, values)


def _rank_check(two: bool) -> Callable[[Node, Sequence[Shape]], str | None]:
    def fits(node: Node, shapes: Sequence[Shape]) -> str | None:
        if any(len(shape) != len(node.shape) for shape in shapes):
            return f"joins {[list(s) for s in shapes]}; expected as many axes in each: put a Reshape before it"
        return f"has {len(shapes)} inputs; expected 2" if two and len(shapes) != 2 else None

    return fits


def _add_counts(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts | None:
    return Counts(sum(c.most for c in of), of[0].area) if len({c.area for c in of}) == 1 else None


def _multiply_counts(node: Node, shapes: Sequence[Shape], of: Sequence[Counts]) -> Counts:
    return Counts(prod(c.most for c in of), prod(c.area for c in of))


# --- ONNX ------------------------------------------------------------------------------------------------------------------


def _write_left_fold(op: str) -> Callable[..., str]:
    """Return an ONNX writer that applies a binary operation to several inputs from left to right.

    This is the order in which PyTorch adds them.
    """

    def write(e: OnnxEmitter, node: Node, total: str, *operands: str) -> str:
        for i, operand in enumerate(operands, 1):
            total = e.op(op, [total, operand], node.name if i == len(operands) else f"{node.name}.{i}")
        return total

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
        return NewNode(name.capitalize(), (_full_rank_operand(c, a), _full_rank_operand(c, b)))
    if not (c.moves(a) or c.moves(b)):
        raise Unsupported("it works on no tensor of the network", "compute constants before")
    varying, constant = (a, b) if c.moves(a) else (b, a)
    x = c.tensor(varying)
    n = c.number(constant, x)
    if name == "add":
        return _affine(x, 1.0, n)
    if name == "mul":
        return _affine(x, n, 0.0)
    if name == "sub":
        return _affine(x, 1.0, -n) if varying == a else _affine(x, -1.0, n)
    require(varying == a, "a division by a tensor", "divide by a number, or put it into the weights")
    return _affine(x, np.float32(1) / n, 0.0)


def _affine(x: GraphTensor, scale: npt.ArrayLike, shift: npt.ArrayLike) -> NewNode | GraphTensor:
    scale, shift = np.asarray(scale, np.float32), np.asarray(shift, np.float32)
    if scale.ndim == shift.ndim == 0 and scale == 1 and shift == 0:
        return x
    full = scale if scale.ndim >= shift.ndim else shift
    params = {"scale": np.broadcast_to(scale, full.shape), "shift": np.broadcast_to(shift, full.shape)}
    return NewNode("Affine", (x,), {}, {key: np.ascontiguousarray(value) for key, value in params.items()})


def _full_rank_operand(c: TorchCall, i: int) -> GraphTensor:
    """Return operand i of a recorded PyTorch call, and refuse one with fewer axes than the result."""
    x: GraphTensor = c.shaped(c.get(i))
    missing = len(c.node.shape) - len(c.get(i).shape)
    require(missing == 0, f"it joins {list(x.shape)} and {list(c.out)}", "give both as many axes")
    return x


for _name, _by, _is_binary, _facts in (
    ("Add", operator.add, False, {"torch": names("add sub rsub mul div", _read_arithmetic), "counts": _add_counts}),
    ("Mul", operator.mul, False, {"counts": _multiply_counts}),
    ("Sub", operator.sub, True, {}),
    ("Div", operator.truediv, True, {"measured": True}),
):
    register(
        _name, _fold(_by), fits=_rank_check(_is_binary), reads_constants=True, onnx=_write_left_fold(_name), **_facts
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
