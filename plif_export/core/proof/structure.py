"""The structure of an artifact against what the exporter writes of the model today: translation validated.

An exporter is deterministic, so the strongest check is the simplest: write the artifact once more, and compare everything.

    anatomy      what a file or a folder says, as nested dicts and lists: texts, numbers, arrays, bytes (each target has its own)
    differences  each place where two of them differ, both ways

Numbers alone may differ, by as much as another version of PyTorch or another processor may round a fold otherwise: float32 by 2
ulp (units in the last place), float16 by 1. Such a difference is listed, and what it does to spikes the gate decides.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import onnx
from onnx import numpy_helper

from plif_export.core.proof.report import StructureRecord
from runtime.core.base.files import read_regular
from runtime.core.model.artifacts import CARD_FILE, CARD_KEY
from runtime.core.model.card import Card, parse_card
from runtime.core.model.readers.contents import PART

Anatomy: TypeAlias = object  # what a file says: dicts, lists, arrays, bytes, texts, numbers
Places = dict[str, Anatomy]  # of a whole file or folder

CLAIMS = ("parity", "versions", "provenance", "memory")  # its maker says so: of the day and the machine of the export
LATER = ("exit", "decide")  # what later commands of ours write into a card; of these a model may say decide
MOST_ULP = {np.dtype(np.float32): (2, np.int32), np.dtype(np.float16): (1, np.int16)}
ORDER = "order"  # of the records of a list that are compared by their names
SHOWN = 60  # characters of a value


@dataclass(frozen=True)
class Difference:
    """A place where an artifact is not what the exporter writes; rounding: whether that may be another rounding of the same."""

    where: str
    expected: str
    found: str
    rounding: bool = False

    def __str__(self) -> str:
        return f"{self.where} is {self.found}; the model gives {self.expected}"

    def to_dict(self) -> StructureRecord:
        return {"where": self.where, "expected": self.expected, "found": self.found}


def differences(found: Anatomy, expected: Anatomy, where: str = "") -> Iterator[Difference]:
    """Every place where two anatomies differ, in the order of the expected one."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        for key in sorted({**expected, **found}, key=lambda key: key == ORDER):
            place = f"{where} {key}".strip()
            if key not in found:
                yield Difference(place, _shown(expected[key]), "missing")
            elif key not in expected:
                yield Difference(place, "nothing", _shown(found[key]))
            else:
                yield from differences(found[key], expected[key], place)
    elif isinstance(found, list) and isinstance(expected, list):
        for i in range(max(len(found), len(expected))):
            pair = [_shown(values[i]) if i < len(values) else "nothing" for values in (found, expected)]
            if i >= min(len(found), len(expected)):
                yield Difference(f"{where} {i}", pair[1], pair[0])
                return
            yield from differences(found[i], expected[i], f"{where} {i}")
    elif isinstance(found, np.ndarray) and isinstance(expected, np.ndarray):
        yield from _of_arrays(found, expected, where)
    elif isinstance(found, str) and isinstance(expected, str) and "\n" in expected:
        lines = found.split("\n"), expected.split("\n")
        if lines[0] != lines[1]:
            at = next((i for i, (a, b) in enumerate(zip(*lines, strict=False)) if a != b), min(map(len, lines)))
            pair = [_shown(json.dumps(text[at])) if at < len(text) else "its end" for text in lines]
            yield Difference(f"{where}, line {at + 1}".lstrip(" ,"), pair[1], pair[0])
    elif repr(found) != repr(expected):  # 0.0 is not -0.0, and 1 is not 1.0
        yield Difference(where, _shown(expected), _shown(found))


def _of_arrays(found: np.ndarray, expected: np.ndarray, where: str) -> Iterator[Difference]:
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        yield Difference(where, _shown(expected), _shown(found))
    elif found.tobytes() != expected.tobytes():
        dtype = found.dtype.newbyteorder("=")
        most, whole = MOST_ULP.get(dtype, (0, None))
        one, other = (a.astype(dtype).ravel() for a in (expected, found))
        differ = np.flatnonzero(one.view(f"u{dtype.itemsize}") != other.view(f"u{dtype.itemsize}"))
        at, ulp = int(differ[0]), 0
        if whole is not None:
            steps = [_in_order(values[differ].view(whole).astype(np.int64), dtype.itemsize) for values in (one, other)]
            ulp = int(np.abs(steps[0] - steps[1]).max())
        place = f" at {[int(i) for i in np.unravel_index(at, found.shape)]}" if found.ndim else ""
        more = f" ({len(differ)} numbers, by up to {ulp} ulp)" if ulp else f" ({len(differ)} numbers)"
        rounding = 0 < ulp <= most and bool(np.isfinite(other[differ]).all())
        yield Difference(where, f"{one[at]}", f"{other[at]}{place}{more}", rounding)


def _in_order(bits: np.ndarray, size: int) -> np.ndarray:
    """The bits of floats as whole numbers that are in the order of the floats, one ulp apart."""
    return np.where(bits < 0, -(1 << (8 * size - 1)) - bits, bits)


def _shown(value: Anatomy) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = value if isinstance(value, str) else json.dumps(value, default=_shown)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


# --- cards ----------------------------------------------------------------------------------------------------------------


def card_differences(found: Card, expected: Card) -> Iterator[Difference]:
    """What a card says that the model does not give, key by key, both ways; claims, and what was written later, are left out."""
    claimed = {*CLAIMS, *LATER} & {*expected}
    mine, wanted = (card_of_model(card, claimed) for card in (found, json.loads(json.dumps(expected))))
    mine["taus"], wanted["taus"] = (_as_arrays(card.get("taus")) for card in (mine, wanted))  # numbers of initializers
    yield from differences(_by_name(mine), _by_name(wanted), "card")


def card_of_model(card: Card, left_out: Collection[str] = (*CLAIMS, *LATER)) -> Card:
    """What a card says that the model gives."""
    return {key: value for key, value in card.items() if key != "digest" and key not in left_out}


def claims_of(card: Card) -> Card:
    """What a card says that nobody can compare with the model."""
    return {key: card[key] for key in ("parity", "provenance", *LATER) if key in card}


def _as_arrays(taus: Anatomy) -> Anatomy:
    if not isinstance(taus, dict):
        return taus
    return {k: v if v is None or isinstance(v, str | dict) else np.array(v, np.float32) for k, v in taus.items()}


def _by_name(value: Anatomy) -> Anatomy:
    """Lists of records by the names of these, so that what differs is named by them; their order is compared, too."""
    if isinstance(value, dict):
        return {key: _by_name(each) for key, each in value.items()}
    if isinstance(value, list) and value and all(isinstance(each, dict) and "name" in each for each in value):
        return _named([(str(each["name"]), _by_name(each)) for each in value])
    return value


def _named(pairs: list[tuple[str, Anatomy]]) -> Places:
    found: Places = {}
    for name, value in pairs:
        key, n = name, 1
        while key in found:
            key, n = f"{name} (again, {n})", n + 1
        found[key] = value
    return {**found, ORDER: "\n".join([name for name, _ in pairs] + [""])}


# --- ONNX -----------------------------------------------------------------------------------------------------------------


def of_onnx(proto: onnx.ModelProto, outer: bool = True) -> Places:
    """An ONNX file: every field of every message, tensors as arrays. outer: whether its card is that of the artifact, which is
    compared elsewhere; another card, in a folder, is compared here."""
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    cards = [i for i, entry in enumerate(bare.metadata_props) if entry.key == CARD_KEY][-1:]  # the one that counts
    inner = [card_of_model(parse_card(Path("a file inside"), bare.metadata_props[i].value)) for i in cards if not outer]
    for i in cards:
        del bare.metadata_props[i]
    found = _of_message(bare)
    bodies = [attribute.g for node in bare.graph.node for attribute in node.attribute]
    for graph in (bare.graph, *bodies):
        for tensor in graph.initializer:  # whose numbers are arrays by now
            tensor.ClearField("raw_data")
    # what no field above shows, such as one of a later version
    return {**found, "bytes": bytes(bare.SerializeToString(deterministic=True)), **({"card": inner} if inner else {})}


class Field(Protocol):
    """Of a message of protobuf."""

    name: str


@runtime_checkable
class ProtobufMessage(Protocol):
    """What every message of protobuf can."""

    def ListFields(self) -> list[tuple[Field, object]]:
        """(field, value) of those that are set."""


def _of_message(message: ProtobufMessage) -> Places:
    fields = {field.name: value for field, value in message.ListFields()}
    if isinstance(message, onnx.TensorProto):
        rest = {name: _of_value(value) for name, value in fields.items() if name in TENSOR_NOTES}
        return {"numbers": numpy_helper.to_array(message), **rest}
    return {name: _of_value(value) for name, value in fields.items()}


TENSOR_NOTES = ("doc_string", "external_data", "segment")  # other fields of a tensor are its numbers


def _of_value(value: object) -> Anatomy:
    if isinstance(value, ProtobufMessage):
        return _of_message(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str | int | float):
        return value
    assert isinstance(value, Iterable), "a field that is repeated"
    each = list(value)
    if each and all(isinstance(one, ProtobufMessage) for one in each):
        return _named([(_name_of(one), _of_message(one)) for one in each])
    return [_of_value(one) for one in each]


def _name_of(message: ProtobufMessage) -> str:
    """What a message of a list is called; a node that has no name by its first output."""
    fields = {field.name: value for field, value in message.ListFields()}
    name = next((fields[key] for key in ("name", "key", "domain", "dim_param") if fields.get(key)), None)
    output = fields.get("output")
    return str(name if name is not None else output[0] if isinstance(output, Sequence) else "default")


# --- folders --------------------------------------------------------------------------------------------------------------


def of_folder(path: Path, readers: Mapping[str, Callable[[Path, bytes], Anatomy]]) -> Places:
    """Every file of a folder but its card, as text where it is one. Links are not followed.

    readers  {file name: a function of the file and its bytes that gives its anatomy, or raises PlifError}
    """
    found: Places = {}
    for each in sorted(path.rglob("*")):
        name = str(each.relative_to(path))
        if each.is_symlink():
            found[name] = f"a link to {os.readlink(each)}"
        elif each.is_dir():
            found[name] = "a folder"
        elif name != CARD_FILE:
            data = read_regular(each, PART)
            found[name] = readers[each.name](each, data) if each.name in readers else _text(data)
    return found


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def layer_of(where: str, card: Card) -> str:
    """The layer that a place is of, by the names of the card's nodes; else the first word of the place."""
    words = re.split(r"[\s./]+", where)
    layers = {str(node["name"]): str(node["attrs"].get("layer", node["name"])) for node in card["graph"]["nodes"]}
    return words[0] if words[0] == "card" else next((layers[word] for word in words if word in layers), "structure")
