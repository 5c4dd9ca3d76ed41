"""What the compiler made of a network -> the sections of a .plif file (runtime/model/readers/plif_file.py has the layout).

The operations are written as they are, one list for each CPU path: a program that opens the file decides nothing again.

Opens a .plif file as libplif does, in C, and gives the program to the engine.
"""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from runtime import native
from runtime.base.errors import PlifError
from runtime.base.files import read_regular
from runtime.engines.early_exit import card_margin, card_rule
from runtime.engines.event.layout import Layout, aligned, as_map
from runtime.engines.event.program import Compiler
from runtime.events.framing import is_native
from runtime.model.card import Card, encode
from runtime.model.digest import seal
from runtime.model.grids import GRIDS, bits_of, pack
from runtime.model.readers import plif_file
from runtime.model.readers.plif_file import ALIGNMENT, DTYPES, NIBBLES, OPERATION_FIELDS, PAIRS, POINTERS, read_bytes
from runtime.model.readers.plif_program import Facts, State, contents_of, of_nibbles, read_plif, turned

THREADS = 2  # how finely the work of small maps is divided; a step of more threads shares what there is
MOST_TEXT = 4096  # bytes of a name or a framing


def sections_of(
    card: Card, weights: Mapping[str, np.ndarray], where: str, paths: Sequence[str] = native.PATHS
) -> tuple[dict[str, bytes], tuple[int, ...]]:
    """(all sections but the card, the header's facts), for plif_file.pack. Raises PlifError for what the engine cannot run.

    card      an artifact card of the step form
    weights   the initializers of its ONNX form by name, [O, I, ...] or [n]
    paths     the CPU paths that get a program
    """
    facts = facts_of(card)
    layouts = {path: Compiler(card, weights, where, True, THREADS, path).compile() for path in paths}
    arrays = _Arrays()
    programs, operations = bytearray(), bytearray()
    for path, layout in layouts.items():
        first = len(operations) // plif_file.OPERATION.size
        number = native.PATHS.index(path)
        programs += plif_file.PROGRAM.pack(number, len(layout.ops), first, layout.acc_floats, layout.arena)
        operations += _operations(layout, arrays)
    c, h, w = as_map(facts.shape)
    counted = {"c": c, "h": h, "w": w, "rank": len(facts.shape)}
    counted |= {"classes": len(facts.classes), "states": len(facts.states), "decide": bool(facts.decide)}
    numbers = tuple(counted[name] if name in counted else int(getattr(facts, name)) for name in plif_file.FACTS)
    sections = {
        "strings": _strings(facts, where),
        "states": b"".join(plif_file.STATE.pack(*state.shape, state.initial) for state in facts.states),
        "programs": bytes(programs),
        "operations": bytes(operations),
        "arrays": bytes(arrays.table),
        "weights": bytes(arrays.data),
    }
    return sections, numbers


def _strings(facts: Facts, where: str | Path) -> bytes:
    rule = [facts.decide] if facts.decide else []
    encoded = [text.encode() for text in (facts.framing, *facts.classes, *(one.name for one in facts.states), *rule)]
    if any(b"\0" in text or len(text) > MOST_TEXT for text in encoded):
        raise PlifError(f"{where}: a class, a state or the framing has a zero byte in its name; rename it")
    return b"".join(text + b"\0" for text in encoded)


def facts_of(card: Card) -> Facts:
    """What a card says of its network, as a .plif file has to say it beside the card."""
    return Facts(
        shape=tuple(card["input"]["shape"]),
        classes=tuple(card["classes"]),
        voters=int(card["output"].get("voters", 1)),
        T=int(card["T"]),
        static=card["input"]["kind"] == "static",
        int8=card["precision"] in GRIDS,
        framing=card["framing"] or "",
        upright=card.get("view") is not None,
        decide=card_rule(card) or "",
        exit=exit_fact(card),
        native=is_native(card),
        keeps=card.get("flush_denormals") is False,
        states=tuple(
            State(state["name"], as_map(state["shape"]), float(np.float32(state["initial"])))
            for state in card["states"]
        ),
    )


def exit_fact(card: Card) -> int:
    """The margin of an early exit in billionths, as the rule `sum,exit=` writes it; 0 for none."""
    margin = card_margin(card)
    return 0 if margin is None else max(1, min(round(1e9 * margin), (1 << 31) - 1))


def with_card(artifact: Path, card: Card) -> bytes:
    """The .plif file `artifact` with this card, which differs from its own in `exit` or `decide`, and the digest that fits."""
    sections, numbers = plif_file.take_apart(artifact, read_regular(artifact, plif_file.EXPECTED))
    del sections["card"]
    facts = dict(zip(plif_file.FACTS, numbers, strict=True))
    said = facts_of(card)
    sections["strings"] = _strings(said, artifact)
    numbers = tuple({**facts, "exit": said.exit, "decide": int(bool(said.decide))}.values())
    seal(card, contents_of(artifact, sections, numbers))
    return plif_file.pack(encode(card), sections, numbers)


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
        out += plif_file.OPERATION.pack(*numbers)
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
            self.table += plif_file.ARRAY.pack(len(self.data), len(raw), kind, bits)
            self.data += raw
            self._numbers[key] = len(self._numbers) + 1
        return self._numbers[key]


KEEP_SUBNORMALS = 2  # plif.h


def open_program(path: Path, card: Card, cpu: str | None, flush: bool) -> tuple[native.Program, np.ndarray]:
    """(the program, the bytes [n] that it lies in, to be kept as long). Raises PlifError where the file may not be run.

    cpu  the path to run; None for the fastest that the file and this processor have
    """
    said, expected = read_plif(path).facts, facts_of(card)
    if said != expected:
        raise PlifError(f"{path}: says {said} beside its card, which says otherwise; export it again")
    library = native.library()
    data = np.frombuffer(read_bytes(path), np.uint8)
    bytes_ = aligned(data.shape, np.uint8)  # a copy: a file that changes while it is open changes nothing here
    bytes_[:] = data
    flags = 0 if flush else KEEP_SUBNORMALS
    model = library.plif_open_for(
        bytes_.ctypes.data, bytes_.nbytes, flags, -1 if cpu is None else native.PATHS.index(cpu)
    )
    if not model:
        raise PlifError(f"{path}: {library.plif_error_text().decode('ascii', 'replace')}")
    weakref.finalize(bytes_, library.plif_close, model)
    return native.Program.from_address(library.plif_model_program(model)), bytes_
