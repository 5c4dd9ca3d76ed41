"""Files of .plif: facts, programs for each CPU, weights, gaps. Drawn from outside."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from runtime.artifacts.plif_file import file as pf
from tests.plif_export.core.attacks.artifacts import attack, write_plif

Sections = dict[str, bytes]


def plif(name: str, doc: str = "") -> Callable[[Any], Any]:
    """Enters a function of (sections, facts as a dict), both changed in place."""

    def enter(change: Callable[[Sections, dict[str, int]], None]) -> Callable[[Sections, dict[str, int]], None]:
        def changed(path: Path) -> None:
            sections, facts = pf.split_file(path, path.read_bytes())
            said = dict(zip(pf.FACTS, facts, strict=True))
            change(sections, said)
            write_plif(path, sections, tuple(said.values()))

        changed.__doc__ = doc or change.__doc__
        attack("plif", "refused", name)(changed)
        return change

    return enter


def _fact(key: str, value: Callable[[int], int]) -> None:
    plif(f"plif_fact_{key}", "what C programs read in place of the card")(
        lambda sections, facts: facts.update({key: value(facts[key])})
    )


_fact("T", lambda T: T + 1)
_fact("voters", lambda voters: voters * 2)
_fact("upright", lambda upright: 1)
_fact("exit", lambda margin: 1)
_fact("static", lambda static: 1)
_fact("int8", lambda int8: 1)
_fact("native", lambda native: 1 - native)


@plif("plif_classes_exchanged")
def _classes(sections: Sections, facts: dict[str, int]) -> None:
    """the names that C programs print"""
    texts = sections["strings"].split(b"\0")
    texts[1], texts[2] = texts[2], texts[1]
    sections["strings"] = b"\0".join(texts)


@plif("plif_framing_changed")
def _framing(sections: Sections, facts: dict[str, int]) -> None:
    """the framing that C programs use"""
    rest = sections["strings"].partition(b"\0")[2]
    sections["strings"] = b"duration:1ms\0" + rest


@plif("plif_a_string_more")
def _string(sections: Sections, facts: dict[str, int]) -> None:
    """text behind the last name"""
    sections["strings"] += b"freight\0"


@plif("plif_a_state_begins_at_a_half")
def _initial(sections: Sections, facts: dict[str, int]) -> None:
    """a membrane that begins elsewhere"""
    sections["states"] = sections["states"][:12] + struct.pack("<f", 0.5) + sections["states"][16:]


def _operations(name: str, doc: str, change: Callable[[dict[str, Any], int], object], programs: slice) -> None:
    """Changes operations of some of the programs; change(operation, its number in the program)."""

    @plif(name, doc)
    def changed(sections: Sections, facts: dict[str, int]) -> None:
        each = [
            dict(zip(pf.OPERATION_FIELDS, op, strict=True)) for op in pf.OPERATION.iter_unpack(sections["operations"])
        ]
        before = [dict(op) for op in each]
        for _, count, first, *_ in list(pf.PROGRAM.iter_unpack(sections["programs"]))[programs]:
            for number in range(count):
                change(each[first + number], number)
        assert each != before, name
        sections["operations"] = b"".join(pf.OPERATION.pack(*op.values()) for op in each)


def _threshold(factor: float) -> Callable[[dict[str, Any], int], object]:
    return lambda op, number: op.update(v_threshold=op["v_threshold"] * factor)


_FIRST, _LAST, _ALL = slice(0, 1), slice(-1, None), slice(None)
_operations("plif_threshold_of_the_first_path", "on one kind of CPU the threshold is another", _threshold(1.1), _FIRST)
_operations("plif_threshold_of_the_last_path", "on one kind of CPU the threshold is another", _threshold(1.1), _LAST)
_operations("plif_threshold_of_all_paths_a_millionth", "another threshold", _threshold(1 + 1e-6), _ALL)
_operations("plif_soft_reset_on_one_path", "another reset", lambda op, n: op.update(soft=1 - op["soft"]), _LAST)
_operations("plif_reset_value_on_one_path", "another reset", lambda op, n: op.update(v_reset=-1.0), _FIRST)
_operations(
    "plif_rows_are_multiplied_sooner", "dense_from, which decides how sums are rounded",
    lambda op, n: op.update(dense_from=op["dense_from"] + 1), _ALL,
)  # fmt: skip
_operations(
    "plif_one_path_has_the_weights_of_another_layer", "a pointer to another array of the same size",
    lambda op, n: op.update(bias=op["weight"]) if op["bias"] else None, _FIRST,
)  # fmt: skip


@plif("plif_a_program_less")
def _program(sections: Sections, facts: dict[str, int]) -> None:
    """without the program of one CPU path"""
    sections["programs"] = sections["programs"][: -pf.PROGRAM.size]


@plif("plif_paths_exchanged")
def _paths(sections: Sections, facts: dict[str, int]) -> None:
    """the program of one CPU path is named for another"""
    each = [list(program) for program in pf.PROGRAM.iter_unpack(sections["programs"])]
    each[0][0], each[-1][0] = each[-1][0], each[0][0]
    sections["programs"] = b"".join(pf.PROGRAM.pack(*program) for program in each)


def _numbers(sections: Sections, change: Callable[[np.ndarray], object]) -> None:
    """Changes the largest array of float32."""
    arrays = [a for a in pf.ARRAY.iter_unpack(sections["arrays"]) if pf.DTYPES[a[2]] == "<f4"]
    at, size, *_ = max(arrays, key=lambda a: a[1])
    values = np.frombuffer(sections["weights"][at : at + size], np.float32).copy()
    change(values)
    sections["weights"] = sections["weights"][:at] + values.tobytes() + sections["weights"][at + size :]


@plif("plif_one_weight_a_thousandth")
def _weight(sections: Sections, facts: dict[str, int]) -> None:
    """the largest weight of the largest layer, a thousandth more"""

    def change(w: np.ndarray) -> None:
        w[np.abs(w).argmax()] *= 1.001

    _numbers(sections, change)


@plif("plif_one_weight_by_5_ulp")
def _ulps(sections: Sections, facts: dict[str, int]) -> None:
    """more than rounding explains"""

    def change(w: np.ndarray) -> None:
        w.view(np.int32)[np.abs(w).argmax()] += 5

    _numbers(sections, change)


@plif("plif_weights_and_freight")
def _freight(sections: Sections, facts: dict[str, int]) -> None:
    """bytes behind the weights that no array names"""
    sections["weights"] += b"freight" * 64


@plif("plif_an_array_more")
def _array(sections: Sections, facts: dict[str, int]) -> None:
    """an array that no operation reads"""
    sections["arrays"] += pf.ARRAY.pack(0, 64, 0, 0)


def _bytes(name: str, doc: str, change: Callable[[bytearray], object]) -> None:
    """Changes the bytes of a .plif file, and its SHA-256."""

    def changed(path: Path) -> None:
        import hashlib

        data = bytearray(path.read_bytes())
        change(data)
        rest = bytes(data[: pf.SHA256_AT]) + bytes(data[pf.HEADER.size :])
        data[pf.SHA256_AT : pf.HEADER.size] = hashlib.sha256(rest).digest()
        path.write_bytes(data)

    changed.__doc__ = doc
    attack("plif", "refused", name)(changed)


def _between(data: bytearray) -> None:
    """In the gap between two sections, which are aligned to 64 bytes."""
    places = pf.HEADER.unpack(bytes(data[: pf.HEADER.size]))[4 : 4 + 2 * len(pf.SECTIONS)]
    for at, size, after in zip(places[::2], places[1::2], places[2::2], strict=False):
        if after > at + size:
            data[at + size] = 0x41
            return
    raise AssertionError(places)


def _longer(data: bytearray) -> None:
    data += bytes(64)
    struct.pack_into("<q", data, 16, len(data))


_bytes("plif_padding", "a letter in the gap between two sections", _between)
_bytes(
    "plif_zeros_of_the_header", "a letter in the header, where zeros are", lambda d: d.__setitem__(pf.SHA256_AT - 1, 65)
)
_bytes("plif_bytes_at_the_end", "64 zeros more at the end, and the size that fits", _longer)
