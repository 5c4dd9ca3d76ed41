"""The contents of a .plif file for Python: the facts, the operations for each CPU path, and the arrays.

file = read_plif(Path("model.plif"))
for operation in file.programs[0].operations:      # {"kind": 1, "oc": 128, ...}: see native/engine/event.h
    if operation["weight"]:
        weight = file.arrays[operation["weight"] - 1]
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from runtime.artifacts.plif_file.file import (
    ARRAY,
    DTYPES,
    EXPECTED,
    FACTS,
    LATER,
    NIBBLES,
    OPERATION,
    OPERATION_FIELDS,
    PAIRS,
    PROGRAM,
    STATE,
    damage_error,
    decode_text,
    split_file,
    unpack_records,
)
from runtime.core.base.files import read_regular
from runtime.core.model.grids import pack, unpack
from runtime.core.model.readers.contents import Contents, find_non_finite


@dataclass(frozen=True)
class State:
    """One membrane of a .plif file: its name, its map [C, H, W] and its initial value."""

    name: str
    shape: tuple[int, int, int]
    initial: float


@dataclass(frozen=True)
class Facts:
    """The facts of a network's card that a program without a JSON reader needs."""

    shape: tuple[int, ...]  # of x: [C, H, W], [C, L] or [n]
    classes: tuple[str, ...]
    voters: int
    T: int
    static: bool
    int8: bool
    framing: str
    upright: bool  # the network needs an upright view (`view` of the card)
    decide: str  # the rule of feeds (`decide` of the card); "" for none
    exit: int  # the margin of an early exit in billionths (`exit` of the card); 0 for none
    native: bool  # the sensor of its training was as large as its input; False in files that are older
    keeps: bool  # subnormal numbers must not be flushed (`flush_denormals` of the card)
    states: tuple[State, ...]


@dataclass(frozen=True)
class FileProgram:
    """The operations of a .plif file for one CPU path (instruction set), {field of Op: number}.

    A pointer is the number of an array, from 1 on, 0 for none.
    """

    path: int
    acc_floats: int
    arena_bytes: int
    operations: list[dict[str, object]]


@dataclass(frozen=True)
class PlifFile:
    """A complete .plif file: the card's text, the facts, the programs and their arrays.

    There is a program for each CPU path; they point to the arrays [n].
    """

    card: str
    facts: Facts
    programs: list[FileProgram]
    arrays: list[np.ndarray]


def read_contents(path: Path) -> Contents:
    """Read a .plif file and hash the contents that the card's digest covers: operations, weights and facts."""
    return hash_contents(path, *split_file(path, read_regular(path, EXPECTED)))


def hash_contents(path: Path, sections: dict[str, bytes], facts: tuple[int, ...]) -> Contents:
    """Hash the sections of a .plif file that the card's digest covers.

    They need not be in a file yet. facts: the numbers of the header, in the order of FACTS.
    """
    numbers = list(facts)
    while not numbers[-1] and len(numbers) > len(FACTS) - LATER:  # an older file has fewer facts
        numbers.pop()
    parts = {
        "facts": sections["strings"] + sections["states"] + struct.pack(f"<{len(numbers)}i", *numbers),
        "operations": sections["programs"] + sections["operations"] + sections["arrays"],
        "weights": sections["weights"],
    }
    floats = (array for array in _iter_arrays(path, sections) if array.dtype == np.float32)
    problems = (find_non_finite(f"array {i}", array) for i, array in enumerate(floats))
    return Contents(
        {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
        next((text for text in problems if text is not None), None),
    )


def read_plif(path: Path) -> PlifFile:
    """Read a complete .plif file; refuse a damaged one.

    plif_program_check decides whether its programs are safe to run.
    """
    return parse_plif(path, read_regular(path, EXPECTED))


def parse_plif(path: Path, data: bytes) -> PlifFile:
    """Parse the bytes of a .plif file."""
    sections, facts = split_file(path, data)
    numbers = dict(zip(FACTS, facts, strict=True))
    strings = sections["strings"].split(b"\0")
    each_state = list(unpack_records(path, sections, "states", STATE))
    count = 2 + numbers["classes"] + numbers["states"] + numbers["decide"]
    if numbers["decide"] not in (0, 1) or len(strings) != count or strings[-1] or len(each_state) != numbers["states"]:
        raise damage_error(path, f"it names {numbers['classes']} classes and {numbers['states']} states and has others")
    texts = [decode_text(path, text) for text in strings[:-1]]
    names, states = texts[1 : 1 + numbers["classes"]], texts[1 + numbers["classes"] :][: numbers["states"]]
    shape = (numbers["c"], numbers["h"], numbers["w"])
    flags = {name: bool(numbers[name]) for name in ("static", "int8", "upright", "native", "keeps")}
    known_facts = Facts(
        shape={1: shape[:1], 2: shape[::2]}.get(numbers["rank"], shape),
        classes=tuple(names),
        voters=numbers["voters"],
        T=numbers["T"],
        framing=texts[0],
        decide=texts[-1] if numbers["decide"] else "",
        exit=numbers["exit"],
        **flags,
        states=tuple(
            State(name, (c, h, w), initial) for name, (c, h, w, initial) in zip(states, each_state, strict=True)
        ),
    )
    operations = [
        dict(zip(OPERATION_FIELDS, record, strict=True))
        for record in unpack_records(path, sections, "operations", OPERATION)
    ]
    programs = []
    for cpu, count, first, acc_floats, arena_bytes in unpack_records(path, sections, "programs", PROGRAM):
        if not 0 <= first <= first + count <= len(operations):
            raise damage_error(path, f"a program of {count} operations begins at {first} of {len(operations)}")
        programs.append(FileProgram(cpu, acc_floats, arena_bytes, operations[first : first + count]))
    return PlifFile(decode_text(path, sections["card"]), known_facts, programs, list(_iter_arrays(path, sections)))


def flip_pairs(pairs: np.ndarray) -> np.ndarray:
    """Convert bytes [n] of the array type PAIRS in a .plif file to whole numbers, or back.

    Every other one from the first on is plus 128, modulo 256.
    """
    return pairs ^ np.tile(np.array([-128, 0], np.int8), len(pairs) // 2)


def to_nibbles(numbers: np.ndarray) -> np.ndarray:
    """Pack whole numbers [n] of -8 to 7 into 4 bits each (the number plus 8), int8 [n / 2]."""
    return pack(numbers + np.int8(8), 4).view(np.int8)


def from_nibbles(packed: np.ndarray) -> np.ndarray:
    """Unpack the 4-bit numbers int8 [n / 2] that `to_nibbles` packed into whole numbers [n]."""
    return unpack(packed.view(np.uint8) ^ np.uint8(0x88), 4, 2 * packed.size)


def _iter_arrays(path: Path, sections: dict[str, bytes]) -> Iterator[np.ndarray]:
    """Yield the arrays [n] of a .plif file, each of its type; read-only."""
    weights = sections["weights"]
    for offset, size, kind, bits in unpack_records(path, sections, "arrays", ARRAY):
        valid = kind in (0, 1, 2, PAIRS, NIBBLES) and bits in (2, 4) if bits else 0 <= kind < len(DTYPES)
        if not (0 <= offset <= len(weights) and 0 <= size <= len(weights) - offset and valid):
            raise damage_error(
                path, f"an array of {size} bytes and type {kind}, {bits} bits, at {offset} of {len(weights)}"
            )
        if bits:
            numbers = unpack(np.frombuffer(weights[offset : offset + size], np.uint8), bits, size * 8 // bits)
            convert = {PAIRS: flip_pairs, NIBBLES: to_nibbles}.get(kind)
            yield numbers.astype(DTYPES[kind]) if convert is None else convert(numbers)
            continue
        dtype = np.dtype(DTYPES[kind])
        yield np.frombuffer(weights[offset : offset + size // dtype.itemsize * dtype.itemsize], dtype)
