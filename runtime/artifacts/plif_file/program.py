"""What is in a .plif file, for programs that read it in Python: the facts, the operations for each CPU path, and the arrays.

file = read_plif(Path("model.plif"))
for operation in file.programs[0].operations:      # {"kind": 1, "oc": 128, ...}: native/engine/event.h says what they mean
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
    damaged,
    records,
    take_apart,
    text_of,
)
from runtime.core.base.files import read_regular
from runtime.core.model.grids import pack, unpack
from runtime.core.model.readers.contents import Contents, not_finite


@dataclass(frozen=True)
class State:
    """One membrane: its name, its map [C, H, W] and where it starts."""

    name: str
    shape: tuple[int, int, int]
    initial: float


@dataclass(frozen=True)
class Facts:
    """What a program without a JSON reader needs of the card."""

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
    """The operations for one CPU path, {field of Op: number}; a pointer is the number of an array, from 1 on, 0 for none."""

    path: int
    acc_floats: int
    arena_bytes: int
    operations: list[dict[str, object]]


@dataclass(frozen=True)
class PlifFile:
    """A whole file: the card's text, the facts, a program for each CPU path, and the arrays [n] that the programs point to."""

    card: str
    facts: Facts
    programs: list[FileProgram]
    arrays: list[np.ndarray]


def read_contents(path: Path) -> Contents:
    """What the digest binds to the card: the operations, the weights, and what is said of the network beside the card."""
    return contents_of(path, *take_apart(path, read_regular(path, EXPECTED)))


def contents_of(path: Path, sections: dict[str, bytes], facts: tuple[int, ...]) -> Contents:
    """The same of sections that need not be in a file yet. facts: the numbers of the header, in the order of FACTS."""
    said = list(facts)
    while (
        not said[-1] and len(said) > len(FACTS) - LATER
    ):  # files that say nothing of it are those before there was such a fact
        said.pop()
    parts = {
        "facts": sections["strings"] + sections["states"] + struct.pack(f"<{len(said)}i", *said),
        "operations": sections["programs"] + sections["operations"] + sections["arrays"],
        "weights": sections["weights"],
    }
    floats = (array for array in _arrays(path, sections) if array.dtype == np.float32)
    found = (not_finite(f"array {i}", array) for i, array in enumerate(floats))
    return Contents(
        {name: hashlib.sha256(part).hexdigest() for name, part in parts.items()},
        next((text for text in found if text is not None), None),
    )


def read_plif(path: Path) -> PlifFile:
    """The whole file. Raises PlifError where it is damaged; whether its programs are safe to run, plif_program_check says."""
    return plif_of(path, read_regular(path, EXPECTED))


def plif_of(path: Path, data: bytes) -> PlifFile:
    """The same of the bytes of a file."""
    sections, facts = take_apart(path, data)
    said = dict(zip(FACTS, facts, strict=True))
    strings = sections["strings"].split(b"\0")
    each_state = list(records(path, sections, "states", STATE))
    count = 2 + said["classes"] + said["states"] + said["decide"]
    if said["decide"] not in (0, 1) or len(strings) != count or strings[-1] or len(each_state) != said["states"]:
        raise damaged(path, f"it names {said['classes']} classes and {said['states']} states and has others")
    texts = [text_of(path, text) for text in strings[:-1]]
    names, states = texts[1 : 1 + said["classes"]], texts[1 + said["classes"] :][: said["states"]]
    shape = (said["c"], said["h"], said["w"])
    flags = {name: bool(said[name]) for name in ("static", "int8", "upright", "native", "keeps")}
    known = Facts(
        shape={1: shape[:1], 2: shape[::2]}.get(said["rank"], shape),
        classes=tuple(names),
        voters=said["voters"],
        T=said["T"],
        framing=texts[0],
        decide=texts[-1] if said["decide"] else "",
        exit=said["exit"],
        **flags,
        states=tuple(
            State(name, (c, h, w), initial) for name, (c, h, w, initial) in zip(states, each_state, strict=True)
        ),
    )
    operations = [
        dict(zip(OPERATION_FIELDS, each, strict=True)) for each in records(path, sections, "operations", OPERATION)
    ]
    programs = []
    for cpu, count, first, acc_floats, arena_bytes in records(path, sections, "programs", PROGRAM):
        if not 0 <= first <= first + count <= len(operations):
            raise damaged(path, f"a program of {count} operations begins at {first} of {len(operations)}")
        programs.append(FileProgram(cpu, acc_floats, arena_bytes, operations[first : first + count]))
    return PlifFile(text_of(path, sections["card"]), known, programs, list(_arrays(path, sections)))


def turned(pairs: np.ndarray) -> np.ndarray:
    """Bytes [n] of PAIRS as whole numbers, and the other way round: every other one from the first on is plus 128, modulo 256."""
    return pairs ^ np.tile(np.array([-128, 0], np.int8), len(pairs) // 2)


def to_nibbles(whole: np.ndarray) -> np.ndarray:
    """Whole numbers [n] of -8 to 7 -> int8 [n / 2], two in each, plus 8."""
    return pack(whole + np.int8(8), 4).view(np.int8)


def of_nibbles(packed: np.ndarray) -> np.ndarray:
    """The same the other way round."""
    return unpack(packed.view(np.uint8) ^ np.uint8(0x88), 4, 2 * packed.size)


def _arrays(path: Path, sections: dict[str, bytes]) -> Iterator[np.ndarray]:
    """The arrays [n], each of its type; read-only."""
    weights = sections["weights"]
    for at, size, kind, bits in records(path, sections, "arrays", ARRAY):
        known = kind in (0, 1, 2, PAIRS, NIBBLES) and bits in (2, 4) if bits else 0 <= kind < len(DTYPES)
        if not (0 <= at <= len(weights) and 0 <= size <= len(weights) - at and known):
            raise damaged(path, f"an array of {size} bytes and type {kind}, {bits} bits, at {at} of {len(weights)}")
        if bits:
            whole = unpack(np.frombuffer(weights[at : at + size], np.uint8), bits, size * 8 // bits)
            made = {PAIRS: turned, NIBBLES: to_nibbles}.get(kind)
            yield whole.astype(DTYPES[kind]) if made is None else made(whole)
            continue
        dtype = np.dtype(DTYPES[kind])
        yield np.frombuffer(weights[at : at + size // dtype.itemsize * dtype.itemsize], dtype)
