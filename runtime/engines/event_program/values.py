"""An expression (runtime/core/model/symbol.py) -> its values, each once, for the lines of a program (assemble.py)."""

from __future__ import annotations

from collections.abc import Callable
from typing import SupportsFloat

import numpy as np

from runtime import native
from runtime.core.model.symbol import Symbol
from runtime.engines.event_program.assemble import Key


class Values:
    """The values of an expression, each once: `keys`, each made of those before it.

    refuse  (why) -> the error for what no line can do;  leaf: the name of a symbol -> the line that reads it
    """

    def __init__(self, refuse: Callable[[str], Exception], leaf: Callable[[str], Key]) -> None:
        self.refuse, self.leaf = refuse, leaf
        self.numbers: dict[Key, int] = {}  # value -> its place in `keys`
        self.keys: list[Key] = []
        self.made: dict[int, int] = {}  # id of a symbol -> its value

    def add(self, *key: str | int) -> int:
        if key not in self.numbers:
            self.numbers[key] = len(self.keys)
            self.keys.append(key)
        return self.numbers[key]

    def value(self, root: Symbol | SupportsFloat) -> int:
        """The value of a symbol; without recursion, since a program may be one long chain."""
        waiting = [root]
        while waiting:
            symbol = waiting[-1]
            parts = symbol.inputs if isinstance(symbol, Symbol) else ()
            left = [part for part in parts if isinstance(part, Symbol) and id(part) not in self.made]
            waiting += left
            if not left:
                if isinstance(symbol, Symbol) and id(symbol) not in self.made:
                    self.made[id(symbol)] = (
                        self.add(*self.leaf(symbol.name)) if symbol.name is not None else self._operation(symbol)
                    )
                waiting.pop()
        return self._known(root)

    def kept(self, symbol: Symbol | SupportsFloat, state: int) -> int:
        """As `value`, of a state after the step. Where that is another state before it, a copy: states change in place."""
        value = self.value(symbol)
        other = self.keys[value][0] == "STATE" and self.keys[value] != ("STATE", state)
        return self.add("COPY", value) if other else value

    def _known(self, part: Symbol | SupportsFloat) -> int:
        return self.made[id(part)] if isinstance(part, Symbol) else self.add("NUMBER", bits(float(part)))

    def _operation(self, symbol: Symbol) -> int:
        op, parts = str(symbol.op), [self._known(part) for part in symbol.inputs]
        if op == "Identity" or (op == "Where" and parts[1] == parts[2]):
            return parts[-1]
        if (op, self.keys[parts[-1]]) in NOTHING_DONE:
            return parts[0]
        if op == "Mul" and self.keys[parts[0]] == ("NUMBER", bits(1.0)):
            return parts[1]
        if op == "Less":
            return self.add("GREATER", parts[1], parts[0])
        if op == "Relu":
            return self.add("MAX", parts[0], self._known(0.0))
        if op == "Sigmoid":
            one = self._known(1.0)
            return self.add("DIV", one, self.add("ADD", one, self.add("EXP", self.add("NEG", parts[0]))))
        name = "AT_LEAST" if op == "GreaterOrEqual" else op.upper()
        if name not in native.LINES:
            raise self.refuse(f"operation {op} is not in this engine")
        return self.add(name, *parts)


def bits(number: float) -> int:
    """A float32 as the int32 with the same bits."""
    return int(np.float32(number).view(np.int32))


# x - 0, x * 1, x / 1: no rounding
NOTHING_DONE = {("Sub", ("NUMBER", 0)), *((op, ("NUMBER", bits(1.0))) for op in ("Mul", "Div"))}
