"""The structure of an artifact, compared with the exporter's own output for the model: translation validation.

An exporter is deterministic, so the strongest check is the simplest: write the artifact once more, and compare
everything.

    normalize_.. the contents of a file or a folder, as nested dicts and lists of texts, numbers, arrays and bytes
    find_differences  each place where two of them differ, both ways

Only numbers may differ, by the rounding of a fold in another version of PyTorch or on another processor: float32 by 2
ulp (units in the last place), float16 by 1. Such a difference is listed, and the gate decides whether it changes
spikes.
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
from runtime.core.model.card import RULE_KEYS, Card, parse_card
from runtime.core.model.readers.contents import PART

PlainValue: TypeAlias = object  # dicts, lists, arrays, bytes, texts, numbers
FileContents = dict[str, PlainValue]  # of a whole file or folder

UNVERIFIED_FIELDS = (
    "parity",
    "versions",
    "provenance",
    "memory",
)  # statements of the exporter about the day and the machine of the export
LATER_FIELDS = ("exit", *RULE_KEYS)  # fields that later plif commands write into a card; a model may have rules, too
MOST_ULP = {np.dtype(np.float32): (2, np.int32), np.dtype(np.float16): (1, np.int16)}
ORDER = "order"  # of the records of a list that are compared by their names
MOST_CHARS = 60  # characters of a value


@dataclass(frozen=True)
class Difference:
    """A place where an artifact's contents differ from what the exporter would write there.

    rounding  whether the difference may be another rounding of the same numbers
    """

    path: str
    expected: str
    actual: str
    rounding: bool = False

    def __str__(self) -> str:
        return f"{self.path} is {self.actual}; the model gives {self.expected}"

    def to_dict(self) -> StructureRecord:
        return {"where": self.path, "expected": self.expected, "found": self.actual}


def find_differences(actual: PlainValue, expected: PlainValue, path: str = "") -> Iterator[Difference]:
    """Yield every place where the contents of two artifacts differ, in the order of the expected contents."""
    if isinstance(actual, Mapping) and isinstance(expected, Mapping):
        for key in sorted({**expected, **actual}, key=lambda key: key == ORDER):
            place = f"{path} {key}".strip()
            if key not in actual:
                yield Difference(place, _abbreviate(expected[key]), "missing")
            elif key not in expected:
                yield Difference(place, "nothing", _abbreviate(actual[key]))
            else:
                yield from find_differences(actual[key], expected[key], place)
    elif isinstance(actual, list) and isinstance(expected, list):
        for i in range(max(len(actual), len(expected))):
            pair = [_abbreviate(values[i]) if i < len(values) else "nothing" for values in (actual, expected)]
            if i >= min(len(actual), len(expected)):
                yield Difference(f"{path} {i}", pair[1], pair[0])
                return
            yield from find_differences(actual[i], expected[i], f"{path} {i}")
    elif isinstance(actual, np.ndarray) and isinstance(expected, np.ndarray):
        yield from _compare_arrays(actual, expected, path)
    elif isinstance(actual, str) and isinstance(expected, str) and "\n" in expected:
        texts = actual.split("\n"), expected.split("\n")
        if texts[0] != texts[1]:
            line = next((i for i, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
            pair = [_abbreviate(json.dumps(text[line])) if line < len(text) else "its end" for text in texts]
            yield Difference(f"{path}, line {line + 1}".lstrip(" ,"), pair[1], pair[0])
    elif repr(actual) != repr(expected):  # 0.0 is not -0.0, and 1 is not 1.0
        yield Difference(path, _abbreviate(expected), _abbreviate(actual))


def _compare_arrays(actual: np.ndarray, expected: np.ndarray, path: str) -> Iterator[Difference]:
    if (actual.dtype, actual.shape) != (expected.dtype, expected.shape):
        yield Difference(path, _abbreviate(expected), _abbreviate(actual))
    elif actual.tobytes() != expected.tobytes():
        dtype = actual.dtype.newbyteorder("=")
        most, int_type = MOST_ULP.get(dtype, (0, None))
        wanted_values, actual_values = (a.astype(dtype).ravel() for a in (expected, actual))
        differ = np.flatnonzero(wanted_values.view(f"u{dtype.itemsize}") != actual_values.view(f"u{dtype.itemsize}"))
        index, ulp = int(differ[0]), 0
        if int_type is not None:
            steps = [
                _ordered_integers(values[differ].view(int_type).astype(np.int64), dtype.itemsize)
                for values in (wanted_values, actual_values)
            ]
            ulp = int(np.abs(steps[0] - steps[1]).max())
        place = f" at {[int(i) for i in np.unravel_index(index, actual.shape)]}" if actual.ndim else ""
        extent = f" ({len(differ)} numbers, by up to {ulp} ulp)" if ulp else f" ({len(differ)} numbers)"
        rounding = 0 < ulp <= most and bool(np.isfinite(actual_values[differ]).all())
        yield Difference(path, f"{wanted_values[index]}", f"{actual_values[index]}{place}{extent}", rounding)


def _ordered_integers(bits: np.ndarray, size: int) -> np.ndarray:
    """Map floats to integers in the same order, so that neighbouring floats (one ulp apart) differ by 1."""
    return np.where(bits < 0, -(1 << (8 * size - 1)) - bits, bits)


def _abbreviate(value: PlainValue) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = value if isinstance(value, str) else json.dumps(value, default=_abbreviate)
    return text if len(text) <= MOST_CHARS else f"{text[:MOST_CHARS]}..."


# --- cards ----------------------------------------------------------------------------------------------------------------


def compare_cards(actual: Card, expected: Card) -> Iterator[Difference]:
    """Yield the fields of an artifact's metadata card that differ from those its model gives, both ways.

    Unverified fields, and fields that later commands write, are not compared.
    """
    claimed = {*UNVERIFIED_FIELDS, *LATER_FIELDS} & {*expected}
    stated, from_model = (select_model_fields(card, claimed) for card in (actual, json.loads(json.dumps(expected))))
    stated["taus"], from_model["taus"] = (
        _as_arrays(card.get("taus")) for card in (stated, from_model)
    )  # numbers of initializers
    yield from find_differences(_index_by_name(stated), _index_by_name(from_model), "card")


def select_model_fields(card: Card, left_out: Collection[str] = (*UNVERIFIED_FIELDS, *LATER_FIELDS)) -> Card:
    """Return the fields of an artifact's metadata card that follow from the model."""
    return {key: value for key, value in card.items() if key != "digest" and key not in left_out}


def select_unverified(card: Card) -> Card:
    """Return the fields of an artifact's metadata card that cannot be checked against the model."""
    return {key: card[key] for key in ("parity", "provenance", *LATER_FIELDS) if key in card}


def _as_arrays(taus: PlainValue) -> PlainValue:
    if not isinstance(taus, dict):
        return taus
    return {k: v if v is None or isinstance(v, str | dict) else np.array(v, np.float32) for k, v in taus.items()}


def _index_by_name(value: PlainValue) -> PlainValue:
    """Turn lists of records that have a name into dicts by name, so that differences are reported by name."""
    if isinstance(value, dict):
        return {key: _index_by_name(record) for key, record in value.items()}
    if isinstance(value, list) and value and all(isinstance(record, dict) and "name" in record for record in value):
        return _number_names([(str(record["name"]), _index_by_name(record)) for record in value])
    return value


def _number_names(pairs: list[tuple[str, PlainValue]]) -> FileContents:
    by_name: FileContents = {}
    for name, value in pairs:
        key, n = name, 1
        while key in by_name:
            key, n = f"{name} (again, {n})", n + 1
        by_name[key] = value
    return {**by_name, ORDER: "\n".join([name for name, _ in pairs] + [""])}


# --- ONNX -----------------------------------------------------------------------------------------------------------------


def normalize_onnx(proto: onnx.ModelProto, outer: bool = True) -> FileContents:
    """Return the contents of an ONNX file in comparable form: every field of every message, tensors as arrays.

    outer  True: the card is that of the artifact, which is compared elsewhere; False: the card of a file in a folder,
           compared here
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(proto)
    cards = [i for i, entry in enumerate(bare.metadata_props) if entry.key == CARD_KEY][-1:]  # the last one counts
    inner = [
        select_model_fields(parse_card(Path("a file inside"), bare.metadata_props[i].value)) for i in cards if not outer
    ]
    for i in cards:
        del bare.metadata_props[i]
    contents = _normalize_message(bare)
    bodies = [attribute.g for node in bare.graph.node for attribute in node.attribute]
    for graph in (bare.graph, *bodies):
        for tensor in graph.initializer:  # the numbers are arrays by now
            tensor.ClearField("raw_data")
    # "bytes" has the fields that are not listed above, such as those of a later version
    return {
        **contents,
        "bytes": bytes(bare.SerializeToString(deterministic=True)),
        **({"card": inner} if inner else {}),
    }


class Field(Protocol):
    """The descriptor of one field of a protobuf message, of which only the name is used."""

    name: str


@runtime_checkable
class ProtobufMessage(Protocol):
    """The interface of every protobuf message, as far as a comparison needs it."""

    def ListFields(self) -> list[tuple[Field, object]]:
        """Return (field, value) of all fields that are set in a protobuf message."""


def _normalize_message(message: ProtobufMessage) -> FileContents:
    fields = {field.name: value for field, value in message.ListFields()}
    if isinstance(message, onnx.TensorProto):
        notes = {name: _normalize_value(value) for name, value in fields.items() if name in TENSOR_NOTES}
        return {"numbers": numpy_helper.to_array(message), **notes}
    return {name: _normalize_value(value) for name, value in fields.items()}


TENSOR_NOTES = ("doc_string", "external_data", "segment")  # other fields of a tensor are its numbers


def _normalize_value(value: object) -> PlainValue:
    if isinstance(value, ProtobufMessage):
        return _normalize_message(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, str | int | float):
        return value
    assert isinstance(value, Iterable), "a field that is repeated"
    values = list(value)
    if values and all(isinstance(v, ProtobufMessage) for v in values):
        return _number_names([(_message_name(v), _normalize_message(v)) for v in values])
    return [_normalize_value(v) for v in values]


def _message_name(message: ProtobufMessage) -> str:
    """Return the name of a protobuf message in a list; an ONNX node without a name has that of its first output."""
    fields = {field.name: value for field, value in message.ListFields()}
    name = next((fields[key] for key in ("name", "key", "domain", "dim_param") if fields.get(key)), None)
    output = fields.get("output")
    return str(name if name is not None else output[0] if isinstance(output, Sequence) else "default")


# --- folders --------------------------------------------------------------------------------------------------------------


def find_links(path: Path) -> Iterator[Difference]:
    """Yield the entries of an artifact's folder that are no files and no folders: what they lead to may change later."""
    for file in sorted(path.rglob("*")):
        if file.is_symlink() or not (file.is_file() or file.is_dir()):
            kind = f"a link to {os.readlink(file)}" if file.is_symlink() else "no file"
            yield Difference(str(file.relative_to(path)), "a file", kind)


def normalize_folder(path: Path, readers: Mapping[str, Callable[[Path, bytes], PlainValue]]) -> FileContents:
    """Return the contents of every file of an artifact's folder except its card, as text where possible.

    readers  {file name: a function of the file and its bytes that returns its contents, or raises PlifError}
    """
    contents: FileContents = {}
    for file in sorted(path.rglob("*")):
        name = str(file.relative_to(path))
        if file.is_dir():
            contents[name] = "a folder"
        elif name != CARD_FILE:
            data = read_regular(file, PART)
            contents[name] = readers[file.name](file, data) if file.name in readers else _text(data)
    return contents


def _text(data: bytes) -> str | bytes:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data


def find_layer(path: str, card: Card) -> str:
    """Return the network layer to which a place (path) in a metadata card or a file belongs.

    Without such a name it is "card" or "structure".
    """
    words = re.split(r"[\s./]+", path)
    layers = {str(node["name"]): str(node["attrs"].get("layer", node["name"])) for node in card["graph"]["nodes"]}
    return words[0] if words[0] == "card" else next((layers[word] for word in words if word in layers), "structure")
