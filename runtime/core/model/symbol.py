"""Symbolic values: they record the operations of a neuron's equation instead of computing them.

`Symbol` overloads + - * / and comparisons, so that an equation of runtime/core/model/neurons.py, called with symbols,
returns its expression, in the equation's own order of operations. Its users are ONNX nodes and C
(plif_export/writers), and programs of the event engine (runtime/engines/event_program/neurons.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, SupportsFloat


class Value(Protocol):
    """A value that supports arithmetic and comparisons, such as an array [B, ...], a shape or a symbol."""

    def __add__(self, operand: Operand, /) -> Value: ...
    def __radd__(self, operand: SupportsFloat, /) -> Value: ...
    def __sub__(self, operand: Operand, /) -> Value: ...
    def __rsub__(self, operand: SupportsFloat, /) -> Value: ...
    def __mul__(self, operand: Operand, /) -> Value: ...
    def __rmul__(self, operand: SupportsFloat, /) -> Value: ...
    def __truediv__(self, operand: Operand, /) -> Value: ...
    def __ge__(self, operand: Operand, /) -> Value: ...
    def __gt__(self, operand: Operand, /) -> Value: ...


Operand = Value | SupportsFloat
States = dict[str, Value]
StepOutput = tuple[Value, Value, States]  # (h, s, next state) of a neuron


class Math(Protocol):
    """The functions that a neuron equation calls as `m`, since they are no arithmetic operators."""

    def spikes(self, fires: Value) -> Value:
        """Convert a comparison [B, ...] to spikes: 1.0 where it is true, else 0.0."""

    def where(self, condition: Value, a: Operand, b: Operand) -> Value: ...

    def op(self, name: str, *operands: Operand) -> Value:
        """Apply an operation of a traced program by name (runtime.neurons.traced_program.program.OPS)."""


class Terms:
    """The parameters and attributes of a neuron layer: the argument `n` of its equation.

    arrays    the parameters by name
    constant  (name, number) -> value: converts number attributes to values of the backend
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
    """A value of a neuron equation: an existing tensor (`name`), or an operation on other values."""

    def __init__(self, op: str | None, inputs: tuple[Symbol | float, ...] = (), name: str | None = None):
        self.op, self.inputs, self.name = op, inputs, name

    def __add__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Add", (self, operand))

    def __radd__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Add", (operand, self))

    def __sub__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Sub", (self, operand))

    def __rsub__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Sub", (operand, self))

    def __mul__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Mul", (self, operand))

    def __rmul__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Mul", (operand, self))

    def __truediv__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Div", (self, operand))

    def __rtruediv__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Div", (operand, self))

    def __ge__(self, operand: Symbol | float) -> Symbol:
        return Symbol("GreaterOrEqual", (self, operand))

    def __gt__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Greater", (self, operand))

    def __lt__(self, operand: Symbol | float) -> Symbol:
        return Symbol("Less", (self, operand))


class SymbolicMath:
    """The functions of a neuron equation (see Math) for symbols: they record operations."""

    def spikes(self, fires: Symbol) -> Symbol:
        return Symbol("Cast", (fires,))

    def where(self, condition: Symbol, a: Symbol | float, b: Symbol | float) -> Symbol:
        return Symbol("Where", (condition, a, b))

    def op(self, name: str, *operands: Symbol | float) -> Symbol:
        if name == "Clip":  # its bounds may be arrays, which ONNX's Clip does not accept
            x, low, high = operands
            return Symbol("Min", (Symbol("Max", (x, low)), high))
        return Symbol(name, operands)


def tensor_symbol(name: str) -> Symbol:
    return Symbol(None, name=name)
