"""What the compiler made of a network -> the sections of a .plif file (runtime/artifacts/plif_file/file.py has the layout).

The operations are written as they are, one list for each CPU path: a program that opens the file decides nothing again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from runtime import native
from runtime.artifacts.plif_file import file
from runtime.artifacts.plif_file.facts import facts_of, strings_of
from runtime.artifacts.plif_file.file import ALIGNMENT, DTYPES, NIBBLES, OPERATION_FIELDS, PAIRS, POINTERS
from runtime.artifacts.plif_file.program import of_nibbles, turned
from runtime.core.model.card import Card
from runtime.core.model.grids import bits_of, pack
from runtime.core.model.records import as_map
from runtime.engines.event_program.layout import Layout
from runtime.engines.event_program.program import Compiler

THREADS = 2  # how finely the work of small maps is divided; a step of more threads shares what there is


def sections_of(
    card: Card, weights: Mapping[str, np.ndarray], where: str, paths: Sequence[str] = native.PATHS
) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """(all sections but the card, the header's facts), for file.pack. Raises PlifError for what the engine cannot run.

    card      an artifact card of the step form
    weights   the initializers of its ONNX form by name, [O, I, ...] or [n]
    paths     the CPU paths that get a program
    """
    facts = facts_of(card)
    layouts = {path: Compiler(card, weights, where, True, THREADS, path).compile() for path in paths}
    arrays = _Arrays()
    programs, operations = bytearray(), bytearray()
    for path, layout in layouts.items():
        first = len(operations) // file.OPERATION.size
        number = native.PATHS.index(path)
        programs += file.PROGRAM.pack(number, len(layout.ops), first, layout.acc_floats, layout.arena)
        operations += _operations(layout, arrays)
    c, h, w = as_map(facts.shape)
    counted = {"c": c, "h": h, "w": w, "rank": len(facts.shape)}
    counted |= {"classes": len(facts.classes), "states": len(facts.states), "decide": bool(facts.decide)}
    numbers = tuple(counted[name] if name in counted else int(getattr(facts, name)) for name in file.FACTS)
    sections = {
        "strings": strings_of(facts, where),
        "states": b"".join(file.STATE.pack(*state.shape, state.initial) for state in facts.states),
        "programs": bytes(programs),
        "operations": bytes(operations),
        "arrays": bytes(arrays.table),
        "weights": bytes(arrays.data),
    }
    return sections, numbers


def _operations(layout: Layout, arrays: _Arrays) -> bytes:
    kept = {array.ctypes.data: array for array in layout.keep}
    out = bytearray()
    for op in layout.ops:
        numbers = [getattr(op, name) for name in OPERATION_FIELDS]
        for i, name in enumerate(OPERATION_FIELDS):
            if name in POINTERS:
                whole = op.sums != native.SUM_FLOAT and name.startswith("weight")
                pairs = op.pairs if name == "weight" else 0
                numbers[i] = arrays.number(kept[numbers[i]], whole, pairs) if numbers[i] else 0
        out += file.OPERATION.pack(*numbers)
    return bytes(out)


class _Arrays:
    """The table of arrays and their bytes; equal arrays are stored once, since all CPU paths share most of them."""

    def __init__(self) -> None:
        self.table, self.data = bytearray(), bytearray()
        self._numbers: dict[tuple[int, int, bytes], int] = {}

    def number(self, array: np.ndarray, whole: bool, pairs: int) -> int:
        """The number of an array, from 1 on; whole: of weights of whole numbers, which are packed where 4 or 2 bits hold them."""
        dtype = array.dtype.newbyteorder("<")
        kind, bits = [np.dtype(each) for each in DTYPES].index(dtype), 0
        if whole and pairs == native.NIBBLES:
            bits = bits_of(numbers := of_nibbles(array))
        elif whole:
            bits = bits_of(numbers := turned(array) if pairs else array.astype(np.int8))
        if bits in (0, 4 if pairs == native.NIBBLES else 8):  # as it lies in memory
            bits, raw = 0, array.astype(dtype, copy=False).tobytes()
        else:
            kind, raw = {native.NIBBLES: NIBBLES, 1: PAIRS}.get(pairs, kind), pack(numbers, bits).tobytes()
        key = (kind, bits, hashlib.sha256(raw).digest())
        if key not in self._numbers:
            self.data += bytes(-len(self.data) % ALIGNMENT)
            self.table += file.ARRAY.pack(len(self.data), len(raw), kind, bits)
            self.data += raw
            self._numbers[key] = len(self._numbers) + 1
        return self._numbers[key]
