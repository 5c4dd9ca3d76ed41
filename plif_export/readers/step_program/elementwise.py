"""Elementwise operations of PyTorch as lines of a neuron's program (runtime/neurons/traced_program/program.py).

TABLE maps the name of an aten operation to a function (emit, operation's node, operands) -> the operand that holds
the result. `emit(op, *operands)` writes one line and returns its name; an operand is a name or a number. Only
operations with the same bits are written: PyTorch fuses `add(a, b, alpha=c)` and the like, so they are refused. To
add an operation, add it here.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from plif_export.core.readers.rules import Unsupported
from plif_export.readers.tracing.nodes import Argument, TraceNode, flatten_arguments

EmitLine = Callable[..., str]
LineWriter = Callable[[EmitLine, TraceNode, list[Argument]], Argument]

FUSED = "PyTorch fuses it, so that its bits cannot be had from separate operations"
COMPARES = {"gt": "Greater", "ge": "GreaterOrEqual", "lt": "Less", "le": "LessOrEqual", "eq": "Equal", "ne": "NotEqual"}


def _add_writer(op: str, negated: str) -> LineWriter:
    def write(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
        alpha = a[2] if len(a) > 2 else 1
        if alpha not in (1, -1):
            raise Unsupported(f"{node.name} with alpha={alpha}: {FUSED}", f"write {op}(a, c * b)", node.path)
        return emit(op if alpha == 1 else negated, a[0], a[1])

    return write


def _write_rsub(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    if len(a) > 2 and a[2] != 1:
        raise Unsupported(f"rsub with alpha={a[2]}: {FUSED}", "write b - c * a", node.path)
    return emit("Sub", a[1], a[0])


def _write_div(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    mode = a[2] if len(a) > 2 else None
    quotient = emit("Div", a[0], a[1])
    if mode is None:
        return quotient
    if mode == "trunc":
        return _round_toward_zero(emit, quotient)
    raise Unsupported("a division that rounds down", "use torch.floor(a / b)", node.path)


def _round_toward_zero(emit: EmitLine, q: Argument) -> Argument:
    return emit("Where", emit("Less", q, 0.0), emit("Ceil", q), emit("Floor", q))


def _write_comparison(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    op = COMPARES[node.name]
    if op == "LessOrEqual":
        return emit("GreaterOrEqual", a[1], a[0])
    if op == "NotEqual":
        return emit("Not", emit("Equal", a[0], a[1]))
    return emit(op, a[0], a[1])


def _write_pow(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    if a[1] in (2, 3):
        square = emit("Mul", a[0], a[0])
        return square if a[1] == 2 else emit("Mul", square, a[0])
    if a[1] == 0.5:
        return emit("Sqrt", a[0])
    raise Unsupported(f"pow {a[1]}", "use powers 2 and 3", node.path)


def _write_clamp(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    low, high = (0, 6) if node.name == "relu6" else ([*a[1:], None])[:2]
    if node.name == "clamp_max":
        low, high = None, a[1]
    if isinstance(low, int | float) and isinstance(high, int | float):
        return emit("Clip", a[0], low, high)
    value = a[0] if low is None else emit("Max", a[0], low)
    return value if high is None else emit("Min", value, high)


def _write_cast(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    before, after = node.reads[0].dtype, node.dtype
    if after == torch.bool:
        return emit("Not", emit("Equal", a[0], 0.0))
    if before == torch.bool:
        return emit("Cast", a[0])
    if before == after or (after == torch.float32 and not before.is_floating_point):
        return a[0]
    if before == torch.float32 and not after.is_floating_point:
        return _round_toward_zero(emit, a[0])
    raise Unsupported(f"it computes in {after}", "compute in float32", node.path)


def _write_masked(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    if node.name == "index_put":
        masks = flatten_arguments(node.args[1])
        if len(masks) != 1 or not isinstance(masks[0], TraceNode) or masks[0].dtype != torch.bool or a[3:4] == [True]:
            raise Unsupported("it writes at places of a tensor", "use torch.where with a condition", node.path)
    return emit("Where", flatten_arguments(a[1])[0], a[2], a[0])


def _write_heaviside(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    return emit("Where", emit("Equal", a[0], 0.0), a[1], emit("Cast", emit("Greater", a[0], 0.0)))


def _write_sign(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    return emit("Sub", emit("Cast", emit("Greater", a[0], 0.0)), emit("Cast", emit("Less", a[0], 0.0)))


def _write_hard(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    """Write Hardsigmoid, or Hardswish: x Hardsigmoid(x)."""
    share = emit("Clip", emit("Add", a[0], 3), 0, 6)
    return emit("Div", share if node.name == "hardsigmoid" else emit("Mul", a[0], share), 6)


def _write_negative_slope(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    slope = a[1] if len(a) > 1 else 0.01
    return emit("Where", emit("Greater", a[0], 0), a[0], emit("Mul", a[0], slope))


def _write_elu(emit: EmitLine, node: TraceNode, a: list[Argument]) -> Argument:
    alpha, scale, inner = a[1:4]
    low = emit("Mul", emit("Sub", emit("Exp", emit("Mul", a[0], inner)), 1), alpha)
    return emit("Mul", emit("Where", emit("Greater", a[0], 0), a[0], low), scale)


def _op_writer(op: str, count: int) -> LineWriter:
    return lambda emit, node, a: emit(op, *a[:count])


TABLE: dict[str, LineWriter] = {
    "add": _add_writer("Add", "Sub"),
    "sub": _add_writer("Sub", "Add"),
    "rsub": _write_rsub,
    "mul": _op_writer("Mul", 2),
    "div": _write_div,
    "reciprocal": lambda emit, node, a: emit("Div", 1.0, a[0]),
    "square": lambda emit, node, a: emit("Mul", a[0], a[0]),
    "pow": _write_pow,
    "where": _op_writer("Where", 3),
    "masked_fill": _write_masked,
    "index_put": _write_masked,
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6"), _write_clamp),
    **dict.fromkeys(("hardsigmoid", "hardswish"), _write_hard),
    **dict.fromkeys(("leaky_relu", "_prelu_kernel"), _write_negative_slope),
    "elu": _write_elu,
    "silu": lambda emit, node, a: emit("Mul", a[0], emit("Sigmoid", a[0])),
    "rsqrt": lambda emit, node, a: emit("Div", 1.0, emit("Sqrt", a[0])),
    "_to_copy": _write_cast,
    "heaviside": _write_heaviside,
    "sign": _write_sign,
    "trunc": lambda emit, node, a: _round_toward_zero(emit, a[0]),
    "logical_and": _op_writer("And", 2),
    "bitwise_and": _op_writer("And", 2),
    "logical_or": _op_writer("Or", 2),
    "bitwise_or": _op_writer("Or", 2),
    "minimum": _op_writer("Min", 2),
    "maximum": _op_writer("Max", 2),
    **dict.fromkeys(COMPARES, _write_comparison),
    **{name: _op_writer("Not", 1) for name in ("logical_not", "bitwise_not")},
    **{
        name: _op_writer(name.capitalize(), 1)
        for name in ("neg", "abs", "relu", "round", "floor", "ceil", "exp", "sigmoid", "tanh", "sqrt", "log")
    },
}


def is_elementwise(node: TraceNode) -> bool:
    """Return whether a recorded PyTorch operation is elementwise, so that neuron programs may contain it.

    Its operands that depend on the input must have the node's own shape.
    """
    if node.name not in TABLE or node.is_tuple:
        return False
    if node.name == "round" and len(node.args) > 1 and node.args[1]:
        return False
    return all(n.shape == node.shape or not n.moves for n in node.reads)
