"""A neuron equation as ONNX nodes: its values are symbols, which record operations instead of computing them.

`Symbol` overloads + - * / and comparisons, so that an equation of runtime/model/neurons.py, called with symbols, returns its
expression. `write` then emits the expression, each shared part as one node. The order of operations is the equation's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import TensorProto

OnnxOp = Callable[..., str]  # Emitter.op
Weight = Callable[[str, Any], str]  # Emitter.weight


class Symbol:
    """One value of an equation: a tensor that exists (`name`), or an operation on other values."""

    def __init__(self, op: str | None, inputs: tuple[Symbol | float, ...] = (), name: str | None = None, **attrs: Any):
        self.op, self.inputs, self.name, self.attrs = op, inputs, name, attrs

    def __add__(self, other: Any) -> Symbol:
        return Symbol("Add", (self, other))

    def __radd__(self, other: Any) -> Symbol:
        return Symbol("Add", (other, self))

    def __sub__(self, other: Any) -> Symbol:
        return Symbol("Sub", (self, other))

    def __rsub__(self, other: Any) -> Symbol:
        return Symbol("Sub", (other, self))

    def __mul__(self, other: Any) -> Symbol:
        return Symbol("Mul", (self, other))

    def __rmul__(self, other: Any) -> Symbol:
        return Symbol("Mul", (other, self))

    def __truediv__(self, other: Any) -> Symbol:
        return Symbol("Div", (self, other))

    def __rtruediv__(self, other: Any) -> Symbol:
        return Symbol("Div", (other, self))

    def __ge__(self, other: Any) -> Symbol:
        return Symbol("GreaterOrEqual", (self, other))

    def __gt__(self, other: Any) -> Symbol:
        return Symbol("Greater", (self, other))

    def __lt__(self, other: Any) -> Symbol:
        return Symbol("Less", (self, other))


class SymbolicMath:
    """What an equation calls beside arithmetic (its argument `m`), for symbols."""

    def spikes(self, fires: Symbol) -> Symbol:
        return Symbol("Cast", (fires,), to=TensorProto.FLOAT)

    def where(self, condition: Symbol, a: Any, b: Any) -> Symbol:
        return Symbol("Where", (condition, a, b))

    def op(self, name: str, *operands: Any) -> Symbol:
        """An operation of a program (runtime.model.program.OPS)."""
        if name == "Cast":
            return self.spikes(*operands)
        if name == "Clip":  # ONNX's own takes no arrays as bounds
            x, low, high = operands
            return Symbol("Min", (Symbol("Max", (x, low)), high))
        return Symbol(name, operands)


def tensor(name: str) -> Symbol:
    return Symbol(None, name=name)


def write(values: Mapping[str, Symbol], op: OnnxOp, weight: Weight, prefix: str, tag: str) -> None:
    """Emits each value under the tensor name that it is given; inner results are called `<prefix>.<op><n><tag>`."""
    count = 0

    def emit(value: Symbol | float, name: str | None = None) -> str:
        nonlocal count
        if not isinstance(value, Symbol):
            short = f"{float(value):g}"
            return weight(f"number.{short if float(short) == value else repr(float(value))}", np.float32(value))
        if value.name is not None:
            return value.name if name is None else op("Identity", [value.name], name)
        inputs = [emit(part) for part in value.inputs]
        if name is None:
            count += 1
            name = f"{prefix}.{str(value.op).lower()}{count}{tag}"
        value.name = op(str(value.op), inputs, name, **value.attrs)
        return value.name

    for name, value in values.items():
        emit(value, name)
