"""The sections of a .plif file, from the compiled program of the event engine.

runtime/artifacts/plif_file/file.py has the layout. The operations are written as they are, one list for each CPU
path: a program that opens the file makes no further decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from runtime import native
from runtime.artifacts.plif_file import file
from runtime.artifacts.plif_file.facts import collect_facts, encode_strings
from runtime.artifacts.plif_file.file import ALIGNMENT, DTYPES, NIBBLES, OPERATION_FIELDS, PAIRS, POINTERS
from runtime.artifacts.plif_file.program import flip_pairs, from_nibbles
from runtime.core.model.card import Card
from runtime.core.model.grids import count_bits, pack
from runtime.core.model.records import to_map_shape
from runtime.engines.event_program.layout import Layout
from runtime.engines.event_program.program import Compiler

THREADS = 2  # the number of shares of small maps; more threads divide the same shares


def build_sections(
    card: Card, weights: Mapping[str, np.ndarray], label: str, paths: Sequence[str] = native.PATHS
) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """Compile a network into the sections of a .plif file, except its card; return them and the header's facts.

    card      an artifact card of the step form
    weights   the initializers of its ONNX form by name, [O, I, ...] or [n]
    paths     the CPU paths that get a program
    Raises PlifError for a network that the engine cannot run.
    """
    facts = collect_facts(card)
    layouts = {path: Compiler(card, weights, label, True, THREADS, path).compile() for path in paths}
    arrays = _ArrayTable()
    programs, operations = bytearray(), bytearray()
    for path, layout in layouts.items():
        first = len(operations) // file.OPERATION.size
        number = native.PATHS.index(path)
        programs += file.PROGRAM.pack(number, len(layout.ops), first, layout.acc_floats, layout.arena)
        operations += _pack_operations(layout, arrays)
    c, h, w = to_map_shape(facts.shape)
    sizes = {"c": c, "h": h, "w": w, "rank": len(facts.shape)}
    sizes |= {"classes": len(facts.classes), "states": len(facts.states), "decide": bool(facts.decide)}
    numbers = tuple(sizes[name] if name in sizes else int(getattr(facts, name)) for name in file.FACTS)
    sections = {
        "strings": encode_strings(facts, label),
        "states": b"".join(file.STATE.pack(*state.shape, state.initial) for state in facts.states),
        "programs": bytes(programs),
        "operations": bytes(operations),
        "arrays": bytes(arrays.table),
        "weights": bytes(arrays.data),
    }
    return sections, numbers


def _pack_operations(layout: Layout, arrays: _ArrayTable) -> bytes:
    by_address = {array.ctypes.data: array for array in layout.keep}
    out = bytearray()
    for op in layout.ops:
        numbers = [getattr(op, name) for name in OPERATION_FIELDS]
        for i, name in enumerate(OPERATION_FIELDS):
            if name in POINTERS:
                is_integer = op.sums != native.SUM_FLOAT and name.startswith("weight")
                pairs = op.pairs if name == "weight" else 0
                numbers[i] = arrays.add_array(by_address[numbers[i]], is_integer, pairs) if numbers[i] else 0
        out += file.OPERATION.pack(*numbers)
    return bytes(out)


class _ArrayTable:
    """The table of the weight arrays in a .plif file, and their bytes.

    Equal arrays are stored once, since all CPU paths share most of them.
    """

    def __init__(self) -> None:
        self.table, self.data = bytearray(), bytearray()
        self._numbers: dict[tuple[int, int, bytes], int] = {}

    def add_array(self, array: np.ndarray, is_integer: bool, pairs: int) -> int:
        """Add an array to the table of a .plif file and return its number, from 1 on.

        is_integer: weights of whole numbers, which are packed if 4 or 2 bits hold them
        """
        dtype = array.dtype.newbyteorder("<")
        kind, bits = [np.dtype(dtype_name) for dtype_name in DTYPES].index(dtype), 0
        if is_integer and pairs == native.NIBBLES:
            bits = count_bits(numbers := from_nibbles(array))
        elif is_integer:
            bits = count_bits(numbers := flip_pairs(array) if pairs else array.astype(np.int8))
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
