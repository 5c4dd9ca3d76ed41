"""Elementwise operations of PyTorch as lines of a neuron's program (runtime/neurons/traced_program/program.py).

TABLE maps the name of an aten operation to a function (lines, operation's node, operands) -> the operand that holds the result.
`lines(op, *operands)` writes one line and returns its name; an operand is a name or a number. Only what gives the same bits is
written down: `add(a, b, alpha=c)` and the like are fused in PyTorch, and refused. To add an operation, add it here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.tracing.nodes import Argument, TraceNode, leaves

Lines = Callable[..., str]
Writer = Callable[[Lines, TraceNode, list[Argument]], Argument]

FUSED = "PyTorch fuses it, so that its bits cannot be had from separate operations"
COMPARES = {"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal", "ne": "NotEqual"}


def _plus(op: str, other: str) -> Writer:
    def write(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
        alpha = a[2] if len(a) > 2 else 1
        if alpha not in (1, -1):
            raise Unsupported(f"{node.name} with alpha={alpha}: {FUSED}", f"write {op}(a, c * b)", node.path)
        return lines(op if alpha == 1 else other, a[0], a[1])

    return write


def _rsub(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    if len(a) > 2 and a[2] != 1:
        raise Unsupported(f"rsub with alpha={a[2]}: {FUSED}", "write b - c * a", node.path)
    return lines("Sub", a[1], a[0])


def _div(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    mode = a[2] if len(a) > 2 else None
    quotient = lines("Div", a[0], a[1])
    if mode is None:
        return quotient
    if mode == "trunc":
        return _toward_zero(lines, quotient)
    raise Unsupported("a division that rounds down", "use torch.floor(a / b)", node.path)


def _toward_zero(lines: Lines, q: Argument) -> Argument:
    return lines("Where", lines("Less", q, 0.0), lines("Ceil", q), lines("Floor", q))


def _compare(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    op = COMPARES[node.name]
    if op == "LessOrEqual":
        return lines("GreaterOrEqual", a[1], a[0])
    if op == "NotEqual":
        return lines("Not", lines("Equal", a[0], a[1]))
    return lines(op, a[0], a[1])


def _pow(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    if a[1] in (2, 3):
        square = lines("Mul", a[0], a[0])
        return square if a[1] == 2 else lines("Mul", square, a[0])
    if a[1] == 0.5:
        return lines("Sqrt", a[0])
    raise Unsupported(f"pow {a[1]}", "use powers 2 and 3", node.path)


def _clamp(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    low, high = ([*a[1:], None])[:2]
    if node.name == "clamp_max":
        low, high = None, a[1]
    if isinstance(low, int | float) and isinstance(high, int | float):
        return lines("Clip", a[0], low, high)
    value = a[0] if low is None else lines("Max", a[0], low)
    return value if high is None else lines("Min", value, high)


def _cast(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    before, after = node.reads[0].dtype, node.dtype
    if after == torch.bool:
        return lines("Not", lines("Equal", a[0], 0.0))
    if before == torch.bool:
        return lines("Cast", a[0])
    if before == after or (after == torch.float32 and not before.is_floating_point):
        return a[0]
    if before == torch.float32 and not after.is_floating_point:
        return _toward_zero(lines, a[0])
    raise Unsupported(f"it computes in {after}", "compute in float32", node.path)


def _masked(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    if node.name == "index_put":
        where = leaves(node.args[1])
        if len(where) != 1 or not isinstance(where[0], TraceNode) or where[0].dtype != torch.bool or a[3:4] == [True]:
            raise Unsupported("it writes at places of a tensor", "use torch.where with a condition", node.path)
    return lines("Where", leaves(a[1])[0], a[2], a[0])


def _heaviside(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    return lines("Where", lines("Equal", a[0], 0.0), a[1], lines("Cast", lines("Greater", a[0], 0.0)))


def _sign(lines: Lines, node: TraceNode, a: list[Argument]) -> Argument:
    return lines("Sub", lines("Cast", lines("Greater", a[0], 0.0)), lines("Cast", lines("Less", a[0], 0.0)))


def _plain(op: str, count: int) -> Writer:
    return lambda lines, node, a: lines(op, *a[:count])


TABLE: dict[str, Writer] = {
    "add": _plus("Add", "Sub"),
    "sub": _plus("Sub", "Add"),
    "rsub": _rsub,
    "mul": _plain("Mul", 2),
    "div": _div,
    "reciprocal": lambda lines, node, a: lines("Div", 1.0, a[0]),
    "square": lambda lines, node, a: lines("Mul", a[0], a[0]),
    "pow": _pow,
    "where": _plain("Where", 3),
    "masked_fill": _masked,
    "index_put": _masked,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "_to_copy": _cast,
    "heaviside": _heaviside,
    "sign": _sign,
    "trunc": lambda lines, node, a: _toward_zero(lines, a[0]),
    "logical_and": _plain("And", 2),
    "bitwise_and": _plain("And", 2),
    "logical_or": _plain("Or", 2),
    "bitwise_or": _plain("Or", 2),
    "minimum": _plain("Min", 2),
    "maximum": _plain("Max", 2),
    **dict.fromkeys(COMPARES, _compare),
    **{name: _plain("Not", 1) for name in ("logical_not", "bitwise_not")},
    **{
        name: _plain(name.capitalize(), 1)
        for name in ("neg", "abs", "relu", "round", "floor", "ceil", "exp", "sigmoid", "tanh", "sqrt", "log")
    },
}


def elementwise(node: TraceNode) -> bool:
    """Whether a node can be a line of a program: its operands that move have its own shape."""
    if node.name not in TABLE or node.several:
        return False
    if node.name == "round" and len(node.args) > 1 and node.args[1]:
        return False
    return all(n.shape == node.shape or not n.moves for n in node.reads)
