"""The assembler: values of an expression -> lines of a program, with as few registers as they need.

runtime/native/engine/machine.h describes the lines. Two operations become one line if the second alone reads the
first, and a state's value after the step is computed in the state's memory: on processors that store slowly, a line
costs as much as its result takes to be written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runtime import native
from runtime.engines.event_program.layout import allocate_aligned

Key = tuple[Any, ...]  # (operation, number or values that it is made of, ...): equal values have equal keys

ONCE = ("NUMBER", "CHANNEL")  # the same for all blocks of a piece of work
COMPUTES = frozenset(native.LINES[native.LINES.index("ADD") :])
ARITHMETIC = ("ADD", "SUB", "MUL")
COMPARISONS = ("GREATER", "AT_LEAST")


def assemble(keys: Sequence[Key], out: Key, next_states: Mapping[int, int]) -> tuple[np.ndarray, int, int]:
    """Assemble a neuron's values into program lines: return (int32 [n, 7], number run once, registers).

    keys  values, each made of those before it
    out   (FIRE or GIVE, the value that is the output)
    next_states   {number of a state: its value after the step}
    """
    return _Assembly(keys, out, next_states).emit_lines()


class _Assembly:
    def __init__(self, keys: Sequence[Key], out: Key, next_states: Mapping[int, int]) -> None:
        self.keys, self.out, self.next_states = list(keys), out, next_states
        self.once = set[int]()
        for value, key in enumerate(self.keys):
            parts = self.parts(value)
            if key[0] in ONCE or (parts and self.once.issuperset(parts)):
                self.once.add(value)
        self.join_comparisons()
        self.join_arithmetic()

    def parts(self, value: int) -> tuple[int, ...]:
        """List the values (operands) that a value of a neuron program is computed from."""
        return self.keys[value][1:] if self.keys[value][0] in COMPUTES else ()

    @property
    def ends(self) -> tuple[int, ...]:
        return (*self.out[1:], *self.next_states.values())

    def needed(self) -> list[int]:
        """List the values that a neuron program's results depend on, in order."""
        values = set(self.ends)
        for value in reversed(range(len(self.keys))):  # parts come before what is made of them
            if value in values:
                values.update(self.parts(value))
        return sorted(values)

    def join_comparisons(self) -> None:
        """Merge each comparison of a neuron program into its reader: a choice, a cast to 0 and 1, or a spike."""
        readers: dict[int, list[tuple[str, int]]] = {}
        for value in self.needed():
            for place, part in enumerate(self.parts(value)):
                readers.setdefault(part, []).append((self.keys[value][0] if place == 0 else "", value))
        for part, (comparison, *operands) in enumerate(self.keys):
            read = readers.get(part, [])
            if comparison not in COMPARISONS or part in self.once or part in self.next_states.values():
                continue
            if self.out == ("GIVE", part) or any(op not in ("WHERE", "CAST") for op, _ in read):
                continue
            for op, value in read:
                self.keys[value] = (f"{op}_{comparison}", *operands, *self.keys[value][2:])
            if self.out == ("FIRE", part):
                self.out = (f"FIRE_{comparison}", *operands)

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

    def place_in_states(self, order: Sequence[int]) -> dict[int, int]:
        """Map values of a neuron program to the states that hold their results, once no line reads the old state."""
        last = {part: i for i, value in enumerate(order) for part in self.parts(value)}
        before = {key[1]: value for value, key in enumerate(self.keys) if key[0] == "STATE"}
        targets: dict[int, int] = {}
        for state, value in self.next_states.items():
            old = before.get(state)
            free = old is None or (old not in self.ends and last.get(old, -1) <= order.index(value))
            if free and self.keys[value][0] in COMPUTES and value not in self.once and value not in targets:
                targets[value] = state
        return targets

    def emit_lines(self) -> tuple[np.ndarray, int, int]:
        needed = self.needed()
        once = [value for value in needed if value in self.once]
        order = [*once, *(value for value in needed if value not in self.once)]
        registers, into = self.assign_registers(order), self.place_in_states(order)
        rows = []
        for value in order:
            parts = [registers[part] for part in self.parts(value)]
            numbers = parts + parts[:1] * (4 - len(parts)) if parts else [*self.keys[value][1:], 0, 0, 0, 0][:4]
            rows.append([native.LINES.index(self.keys[value][0]), registers[value], *numbers, into.get(value, -1) + 1])
        outputs = [registers[value] for value in self.out[1:]]
        rows.append([native.LINES.index(self.out[0]), 0, *outputs, *[0] * (5 - len(outputs))])
        for state, value in self.next_states.items():
            if into.get(value) != state:
                rows.append([native.LINES.index("KEEP"), 0, state, registers[value], 0, 0, 0])
        code = allocate_aligned((len(rows), 7), np.int32)
        code[:] = rows
        return code, len(once), 1 + max(registers.values())

    def assign_registers(self, order: Sequence[int]) -> dict[int, int]:
        """Assign a register to each value of a neuron program; it is reused after the last line that reads it."""
        last = {part: i for i, value in enumerate(order) for part in self.parts(value)}
        free: list[int] = []
        assigned: dict[int, int] = {}
        used = 0
        for i, value in enumerate(order):
            for part in set(self.parts(value)):
                if last[part] == i and part not in self.once and part not in self.ends:
                    free.append(assigned[part])
            if free and value not in self.once:
                assigned[value] = free.pop()
            else:
                assigned[value], used = used, used + 1
        return assigned
