"""The values of an expression -> the lines of a program (runtime/native/engine/machine.h), with as few registers as they need.

Two operations of which the second alone reads the first become one line, and what a state is after the step is computed where
the state lies: on processors that store slowly, a line costs as much as its result takes to be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runtime import native
from runtime.engines.event_program.layout import aligned

Key = tuple[Any, ...]  # (operation, number or values that it is made of, ...): equal values have equal keys

ONCE = ("NUMBER", "CHANNEL")  # the same for all blocks of a piece of work
COMPUTES = frozenset(native.LINES[native.LINES.index("ADD") :])
ARITHMETIC = ("ADD", "SUB", "MUL")
COMPARISONS = ("GREATER", "AT_LEAST")


def assemble(keys: Sequence[Key], out: Key, kept: Mapping[int, int]) -> tuple[np.ndarray, int, int]:
    """(lines int32 [n, 7], how many of them run once, how many registers).

    keys  values, each made of those before it
    out   (FIRE or GIVE, the value that goes out)
    kept  {number of a state: its value after the step}
    """
    return _Assembly(keys, out, kept).lines()


class _Assembly:
    def __init__(self, keys: Sequence[Key], out: Key, kept: Mapping[int, int]) -> None:
        self.keys, self.out, self.kept = list(keys), out, kept
        self.once = set[int]()
        for value, key in enumerate(self.keys):
            parts = self.parts(value)
            if key[0] in ONCE or (parts and self.once.issuperset(parts)):
                self.once.add(value)
        self.join_comparisons()
        self.join_arithmetic()

    def parts(self, value: int) -> tuple[int, ...]:
        """The values that a value is made of."""
        return self.keys[value][1:] if self.keys[value][0] in COMPUTES else ()

    @property
    def ends(self) -> tuple[int, ...]:
        return (*self.out[1:], *self.kept.values())

    def needed(self) -> list[int]:
        """The values that the results are made of, in order."""
        found = set(self.ends)
        for value in reversed(range(len(self.keys))):  # parts come before what is made of them
            if value in found:
                found.update(self.parts(value))
        return sorted(found)

    def join_comparisons(self) -> None:
        """A comparison that only chooses, becomes 0 and 1, or fires, is made where that is done."""
        readers: dict[int, list[tuple[str, int]]] = {}
        for value in self.needed():
            for place, part in enumerate(self.parts(value)):
                readers.setdefault(part, []).append((self.keys[value][0] if place == 0 else "", value))
        for part, (how, *operands) in enumerate(self.keys):
            read = readers.get(part, [])
            if how not in COMPARISONS or part in self.once or part in self.kept.values():
                continue
            if self.out == ("GIVE", part) or any(op not in ("WHERE", "CAST") for op, _ in read):
                continue
            for op, value in read:
                self.keys[value] = (f"{op}_{how}", *operands, *self.keys[value][2:])
            if self.out == ("FIRE", part):
                self.out = (f"FIRE_{how}", *operands)

    def join_arithmetic(self) -> None:
        uses = Counter(self.ends)
        for value in self.needed():
            uses.update(self.parts(value))
        for value in reversed(self.needed()):
            op, *parts = self.keys[value]
            if op not in ARITHMETIC or value in self.once:
                continue
            for place, part in enumerate(parts):
                first, *inner = self.keys[part]
                if first in ARITHMETIC and uses[part] == 1 and part not in self.once:
                    second = "FROM" if op == "SUB" and place == 1 else op
                    self.keys[value] = (f"{first}_{second}", *inner, parts[1 - place])
                    break

    def into(self, order: Sequence[int]) -> dict[int, int]:
        """{value: the state in which it is to lie}: nothing reads that state any more when the value is made."""
        last = {part: i for i, value in enumerate(order) for part in self.parts(value)}
        before = {key[1]: value for value, key in enumerate(self.keys) if key[0] == "STATE"}
        found: dict[int, int] = {}
        for state, value in self.kept.items():
            old = before.get(state)
            free = old is None or (old not in self.ends and last.get(old, -1) <= order.index(value))
            if free and self.keys[value][0] in COMPUTES and value not in self.once and value not in found:
                found[value] = state
        return found

    def lines(self) -> tuple[np.ndarray, int, int]:
        needed = self.needed()
        once = [value for value in needed if value in self.once]
        order = [*once, *(value for value in needed if value not in self.once)]
        registers, into = self.registers(order), self.into(order)
        rows = []
        for value in order:
            parts = [registers[part] for part in self.parts(value)]
            numbers = parts + parts[:1] * (4 - len(parts)) if parts else [*self.keys[value][1:], 0, 0, 0, 0][:4]
            rows.append([native.LINES.index(self.keys[value][0]), registers[value], *numbers, into.get(value, -1) + 1])
        given = [registers[value] for value in self.out[1:]]
        rows.append([native.LINES.index(self.out[0]), 0, *given, *[0] * (5 - len(given))])
        for state, value in self.kept.items():
            if into.get(value) != state:
                rows.append([native.LINES.index("KEEP"), 0, state, registers[value], 0, 0, 0])
        code = aligned((len(rows), 7), np.int32)
        code[:] = rows
        return code, len(once), 1 + max(registers.values())

    def registers(self, order: Sequence[int]) -> dict[int, int]:
        """A register for each value, taken again behind the last line that reads it."""
        last = {part: i for i, value in enumerate(order) for part in self.parts(value)}
        free: list[int] = []
        found: dict[int, int] = {}
        used = 0
        for i, value in enumerate(order):
            for part in set(self.parts(value)):
                if last[part] == i and part not in self.once and part not in self.ends:
                    free.append(found[part])
            if free and value not in self.once:
                found[value] = free.pop()
            else:
                found[value], used = used, used + 1
        return found
