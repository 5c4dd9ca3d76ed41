"""The values of an expression (runtime/core/model/symbol.py), each once, for the lines of a program (assemble.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsFloat

import numpy as np

from runtime import native
from runtime.core.model.symbol import Symbol
from runtime.engines.event_program.assemble import Key


class Values:
    """The distinct values of a neuron's equation: `keys`, each made of those before it.

    refuse  creates the error for an operation without a line, from a reason
    leaf    returns the line that reads a symbol, from the symbol's name
    """

    def __init__(self, refuse: Callable[[str], Exception], leaf: Callable[[str], Key]) -> None:
        self.refuse, self.leaf = refuse, leaf
        self.numbers: dict[Key, int] = {}  # value -> its place in `keys`
        self.keys: list[Key] = []
        self.by_symbol: dict[int, int] = {}  # id of a symbol -> its value

    def add(self, *key: str | int) -> int:
        if key not in self.numbers:
            self.numbers[key] = len(self.keys)
            self.keys.append(key)
        return self.numbers[key]

    def value(self, root: Symbol | SupportsFloat) -> int:
        """Return the number (place in `keys`) of a symbol's value; it needs no recursion, as programs can be long."""
        waiting = [root]
        while waiting:
            symbol = waiting[-1]
            parts = symbol.inputs if isinstance(symbol, Symbol) else ()
            missing = [part for part in parts if isinstance(part, Symbol) and id(part) not in self.by_symbol]
            waiting += missing
            if not missing:
                if isinstance(symbol, Symbol) and id(symbol) not in self.by_symbol:
                    self.by_symbol[id(symbol)] = (
                        self.add(*self.leaf(symbol.name)) if symbol.name is not None else self._operation(symbol)
                    )
                waiting.pop()
        return self._lookup(root)

    def state_value(self, symbol: Symbol | SupportsFloat, state: int) -> int:
        """Return the number (place in `keys`) of a state's value after the step.

        It is a copy if it equals another state before the step: states change in place.
        """
        value = self.value(symbol)
        is_other = self.keys[value][0] == "STATE" and self.keys[value] != ("STATE", state)
        return self.add("COPY", value) if is_other else value

    def _lookup(self, part: Symbol | SupportsFloat) -> int:
        return self.by_symbol[id(part)] if isinstance(part, Symbol) else self.add("NUMBER", float_bits(float(part)))

    def _operation(self, symbol: Symbol) -> int:
        op, parts = str(symbol.op), [self._lookup(part) for part in symbol.inputs]
        if op == "Identity" or (op == "Where" and parts[1] == parts[2]):
            return parts[-1]
        if (op, self.keys[parts[-1]]) in NOTHING_DONE:
            return parts[0]
        if op == "Mul" and self.keys[parts[0]] == ("NUMBER", float_bits(1.0)):
            return parts[1]
        if op == "Less":
            return self.add("GREATER", parts[1], parts[0])
        if op == "Relu":
            return self.add("MAX", parts[0], self._lookup(0.0))
        if op == "Sigmoid":
            unit = self._lookup(1.0)
            return self.add("DIV", unit, self.add("ADD", unit, self.add("EXP", self.add("NEG", parts[0]))))
        name = "AT_LEAST" if op == "GreaterOrEqual" else op.upper()
        if name not in native.LINES:
            raise self.refuse(f"operation {op} is not in this engine")
        return self.add(name, *parts)


def float_bits(number: float) -> int:
    """Return the int32 with the same bits as a float32."""
    return int(np.float32(number).view(np.int32))


# x - 0, x * 1, x / 1: no rounding
NOTHING_DONE = {("Sub", ("NUMBER", 0)), *((op, ("NUMBER", float_bits(1.0))) for op in ("Mul", "Div"))}
