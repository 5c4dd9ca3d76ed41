"""A neuron's equation as an expression: its values are symbols, which record operations instead of computing them.

`Symbol` overloads + - * / and comparisons, so that an equation of runtime/core/model/neurons.py, called with symbols, returns its
expression, in the equation's own order of operations. Whoever writes or runs one takes it from there: ONNX nodes and C
(plif_export/writers), programs of the event engine (runtime/engines/event_program/neurons.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, SupportsFloat


class Value(Protocol):
    """What a backend computes with: an array [B, ...], a measure, a shape, a symbol, a node of a graph, a view of memory."""

    def __add__(self, other: Operand, /) -> Value: ...
    def __radd__(self, other: SupportsFloat, /) -> Value: ...
    def __sub__(self, other: Operand, /) -> Value: ...
    def __rsub__(self, other: SupportsFloat, /) -> Value: ...
    def __mul__(self, other: Operand, /) -> Value: ...
    def __rmul__(self, other: SupportsFloat, /) -> Value: ...
    def __truediv__(self, other: Operand, /) -> Value: ...
    def __ge__(self, other: Operand, /) -> Value: ...
    def __gt__(self, other: Operand, /) -> Value: ...


Operand = Value | SupportsFloat
States = dict[str, Value]
Stepped = tuple[Value, Value, States]  # (h, s, next state) of a neuron


class Math(Protocol):
    """What an equation calls beside arithmetic: its argument `m`."""

    def spikes(self, fires: Value) -> Value:
        """0.0 and 1.0 of a comparison."""

    def where(self, condition: Value, a: Operand, b: Operand) -> Value: ...

    def op(self, name: str, *operands: Operand) -> Value:
        """An operation of a program (runtime.neurons.traced_program.program.OPS)."""


class Terms:
    """The `n` of an equation: the layer's parameters, and its attributes, of which numbers become values of the backend.

    arrays    the parameters by name
    constant  (name, number) -> value
    An attribute that the layer lacks is None.
    """

    def __init__(
        self, attrs: Mapping[str, object], params: Mapping[str, Any], constant: Callable[[str, float], object]
    ) -> None:
        self.arrays = params
        self._attrs, self._constant = attrs, constant

    def __getattr__(self, name: str) -> Any:
        if name in self.arrays:
            return self.arrays[name]
        value = self._attrs.get(name)
        if isinstance(value, float | int) and not isinstance(value, bool):
            return self._constant(name, float(value))
        return value


class Symbol:
    """One value of an equation: a tensor that exists (`name`), or an operation on other values."""

    def __init__(self, op: str | None, inputs: tuple[Symbol | float, ...] = (), name: str | None = None):
        self.op, self.inputs, self.name = op, inputs, name

    def __add__(self, other: Symbol | float) -> Symbol:
        return Symbol("Add", (self, other))

    def __radd__(self, other: Symbol | float) -> Symbol:
        return Symbol("Add", (other, self))

    def __sub__(self, other: Symbol | float) -> Symbol:
        return Symbol("Sub", (self, other))

    def __rsub__(self, other: Symbol | float) -> Symbol:
        return Symbol("Sub", (other, self))

    def __mul__(self, other: Symbol | float) -> Symbol:
        return Symbol("Mul", (self, other))

    def __rmul__(self, other: Symbol | float) -> Symbol:
        return Symbol("Mul", (other, self))

    def __truediv__(self, other: Symbol | float) -> Symbol:
        return Symbol("Div", (self, other))

    def __rtruediv__(self, other: Symbol | float) -> Symbol:
        return Symbol("Div", (other, self))

    def __ge__(self, other: Symbol | float) -> Symbol:
        return Symbol("GreaterOrEqual", (self, other))

    def __gt__(self, other: Symbol | float) -> Symbol:
        return Symbol("Greater", (self, other))

    def __lt__(self, other: Symbol | float) -> Symbol:
        return Symbol("Less", (self, other))


class SymbolicMath:
    """Math, for symbols."""

    def spikes(self, fires: Symbol) -> Symbol:
        return Symbol("Cast", (fires,))

    def where(self, condition: Symbol, a: Symbol | float, b: Symbol | float) -> Symbol:
        return Symbol("Where", (condition, a, b))

    def op(self, name: str, *operands: Symbol | float) -> Symbol:
        if name == "Clip":  # arrays may be its bounds, which ONNX's own does not take
            x, low, high = operands
            return Symbol("Min", (Symbol("Max", (x, low)), high))
        return Symbol(name, operands)


def tensor(name: str) -> Symbol:
    return Symbol(None, name=name)
