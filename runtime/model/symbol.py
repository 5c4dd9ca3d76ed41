"""A neuron's equation as an expression: its values are symbols, which record operations instead of computing them.

`Symbol` overloads + - * / and comparisons, so that an equation of runtime/model/neurons.py, called with symbols, returns its
expression, in the equation's own order of operations. Whoever writes or runs one takes it from there: ONNX nodes and C
(plif_export/writers), programs of the event engine (runtime/engines/event/neurons.py).
"""

from __future__ import annotations

from typing import Any


class Symbol:
    """One value of an equation: a tensor that exists (`name`), or an operation on other values."""

    def __init__(self, op: str | None, inputs: tuple[Symbol | float, ...] = (), name: str | None = None):
        self.op, self.inputs, self.name = op, inputs, name

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
        return Symbol("Cast", (fires,))

    def where(self, condition: Symbol, a: Any, b: Any) -> Symbol:
        return Symbol("Where", (condition, a, b))

    def op(self, name: str, *operands: Any) -> Symbol:
        """An operation of a program (runtime.model.program.OPS)."""
        if name == "Cast":
            return self.spikes(*operands)
        if name == "Clip":  # arrays may be its bounds, which ONNX's own does not take
            x, low, high = operands
            return Symbol("Min", (Symbol("Max", (x, low)), high))
        return Symbol(name, operands)


def tensor(name: str) -> Symbol:
    return Symbol(None, name=name)
