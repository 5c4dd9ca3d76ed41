"""ONNX at the protobuf wire level: the metadata of a model, and additions to it, without the onnx package.

A protobuf message is a sequence of fields. Each has a varint key (number << 3 | wire type) and a value: wire type 0 is a
varint, 1 is 8 bytes, 5 is 4 bytes, 2 is a length and that many bytes. Field numbers below are those of onnx.proto3.
"""

from __future__ import annotations

import io
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import BinaryIO

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular

MODEL_GRAPH, MODEL_METADATA = 7, 14
MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_OUTPUT = 1, 5, 12
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_ATTRIBUTE = 1, 2, 3, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TYPE = 1, 3, 20
TENSOR_TYPE, TENSOR_NAME = 2, 8
FLOAT = 1  # TensorProto.DataType

MOST_BYTES = 2 << 30  # of a file: protobuf has no larger messages
_MOST_METADATA = 64 << 20  # bytes; a card is a few kB, and a wrong length must not make us read more than this

EXPECTED = "an artifact made by: plif export model.pt"

Span = tuple[int, int, int, int]  # field number, wire type, start, end (the value itself for wire type 0)


class NotProtobuf(Exception):
    """The bytes are not a protobuf message."""


@contextmanager
def onnx_file(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """An ONNX file to walk, and its size in bytes. Raises PlifError when a walk finds bytes that are no protobuf."""
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        size = file.seek(0, io.SEEK_END)
        if size > MOST_BYTES:
            raise PlifError(f"{path}: {size} bytes; an ONNX file has at most {MOST_BYTES}; expected {EXPECTED}")
        try:
            yield file, size
        except (NotProtobuf, UnicodeDecodeError):
            raise not_onnx(path, size) from None


def not_onnx(path: Path, size: int) -> PlifError:
    """The error for a file of `size` bytes that is not ONNX."""
    what = "is empty" if size == 0 else "is not an ONNX file, or was cut short"
    return PlifError(f"{path}: {what}; expected {EXPECTED}")


def read_metadata(path: str | Path) -> dict[str, str]:
    """metadata_props of an ONNX file as a dict. Raises PlifError when the file is not ONNX."""
    with onnx_file(path) as (file, size):
        return metadata_of(file, size)


def metadata_of(file: BinaryIO, size: int) -> dict[str, str]:
    """The same of an open file of `size` bytes. Raises NotProtobuf where it is not ONNX."""
    metadata: dict[str, str] = {}
    saw_graph = False
    for number, wire, start, end in fields(file, 0, size):
        if number not in MODEL_FIELDS:
            raise NotProtobuf
        if number == MODEL_GRAPH and wire == 2:
            saw_graph = True
        if number == MODEL_METADATA and wire == 2:
            key, value = metadata_entry(file, start, end)
            metadata[key] = value
    if not saw_graph:
        raise NotProtobuf
    return metadata


def text_field(file: BinaryIO, start: int, end: int, wanted: int) -> str | None:
    """The text in field `wanted` of the message in bytes [start, end); None where it has none of under 4096 bytes."""
    for a, b in messages(file, start, end, wanted):
        if b - a < 4096:
            file.seek(a)
            return file.read(b - a).decode("utf-8", "replace")
    return None


def messages(file: BinaryIO, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """(start, end), in bytes, of each value of field `wanted` that has a length (texts, messages)."""
    return ((a, b) for number, wire, a, b in fields(file, start, end) if number == wanted and wire == 2)


def fields(file: BinaryIO, start: int, end: int) -> Iterator[Span]:
    """The fields of the message in bytes [start, end) of a file; values are skipped, not read."""
    at = start
    while at < end:
        file.seek(at)
        buffer = file.read(min(20, end - at))
        key, used = varint(buffer, 0)
        number, wire = key >> 3, key & 7
        if number == 0 or key >= 1 << 32:  # other parsers would take the lower 32 bits
            raise NotProtobuf
        if wire == 0:
            value, used = varint(buffer, used)
            at += used
            yield number, wire, value, value
        elif wire == 2:
            length, used = varint(buffer, used)
            if length > end - at - used:
                raise NotProtobuf
            yield number, wire, at + used, at + used + length
            at += used + length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            if at + used + width > end:
                raise NotProtobuf
            yield number, wire, at + used, at + used + width
            at += used + width
        else:
            raise NotProtobuf


def metadata_entry(file: BinaryIO, start: int, end: int) -> tuple[str, str]:
    """The key and the value of the metadata in bytes [start, end)."""
    if end - start > _MOST_METADATA:
        raise NotProtobuf
    key = value = ""
    for number, wire, a, b in list(fields(file, start, end)):
        if wire == 2 and number in (1, 2):
            file.seek(a)
            text = file.read(b - a).decode("utf-8")
            key, value = (text, value) if number == 1 else (key, text)
    return key, value


def varint(buffer: bytes, at: int) -> tuple[int, int]:
    """The number that starts at byte `at`, and where the next field starts.

    Parsers differ in what they make of a number that is written with more bytes than it needs, or has more than 64 bits.
    No writer writes one, so it is refused.
    """
    value = shift = 0
    while True:
        if at >= len(buffer) or shift > 63:
            raise NotProtobuf
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            if value >> 64 or (byte == 0 and shift):
                raise NotProtobuf
            return value, at
        shift += 7


# --- writing ------------------------------------------------------------------------------------------------------
# Protobuf merges two messages of one field (its specification says so). So a second, small graph that is appended to the
# bytes of a model adds its nodes and outputs to the model's graph.


def with_rates(model: bytes, taps: dict[str, str], graded: Collection[str] = ()) -> bytes:
    """The model with one more output for each of `taps`, {output name: tensor name}: float32 [B], the mean of each row.

    It counts spikes: the mean of a layer's spikes over its neurons is its firing rate in that step. Spikes of outputs in
    `graded` may have any size, and count as one each.
    """
    graph = b""
    rows = put(
        1, put(1, FLOAT) + put(2, put(1, b""))
    )  # float32 of one axis: ONNX Runtime 1.23 wants to know it in a loop
    for output, tensor in taps.items():
        flat = f"{output}.flat"
        if output in graded:
            graph += put_node("Sign", [tensor], f"{output}.sign")
            graph += put_node("Abs", [f"{output}.sign"], f"{output}.one")
            tensor = f"{output}.one"
        axes = put(8, f"{output}.axes".encode()) + put(1, 1) + put(2, 7) + put(9, (1).to_bytes(8, "little"))
        graph += put_node("Flatten", [tensor], flat, {"axis": 1})
        graph += put_node("ReduceMean", [flat, f"{output}.axes"], output, {"keepdims": 0})
        graph += put(GRAPH_INITIALIZER, axes) + put(GRAPH_OUTPUT, put(1, output.encode()) + put(2, rows))
    return model + put(MODEL_GRAPH, graph)


# What protobuf writes before and behind a type: of a node Cast that is not a weight's, and of the zero point of counts.
_TYPES = (rb'((?<!\.weight8/Cast)"\x04Cast\*\t\n\x02to\x18)\x03(\xa0\x01\x02)', rb"(\x10)\x03(B\tzero\.int8)")
_PACKED = re.compile(rb'\.weight8/Cast"\x04Cast')


def runnable(model: bytes, onnxruntime: str) -> bytes:
    """The model in the types for which that version of ONNX Runtime has kernels.

    Before 1.24, the last for Python 3.10, it convolves uint8, but no int8. The counts that a ConvInteger reads are 0 to 64, so
    all sums are the same numbers: a Cast to int8, and the zero point, change their type, and nothing else. Before 1.23 it makes
    no bytes of weights of 4 bits: raises PlifError for these.
    """
    version = tuple(map(int, onnxruntime.split(".")[:2]))
    if version < (1, 23) and _PACKED.search(model):
        raise PlifError(
            f"weights of 4 bits need ONNX Runtime 1.23 or later, and this is {onnxruntime}: update it, use --engine event, or "
            "export with --precision int8"
        )
    if version < (1, 24):
        for types in _TYPES:
            model = re.sub(types, lambda found: found[1] + b"\x02" + found[2], model)
    return model


def copied(file: BinaryIO, field: Span) -> bytes:
    """A field of a file as it is, to be written."""
    number, wire, start, end = field
    if wire == 0:
        return put(number, start)
    file.seek(start)
    return put(number, file.read(end - start), wire)


def put_node(op: str, inputs: list[str], output: str, attributes: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """The field of a graph that enters a node of ONNX's own domain, with one output."""
    node = b"".join(put(NODE_INPUT, name.encode()) for name in inputs)
    node += put(NODE_OUTPUT, output.encode()) + put(NODE_NAME, output.encode()) + put(NODE_OP, op.encode())
    for name, value in attributes.items():
        node += put(
            NODE_ATTRIBUTE, put(ATTRIBUTE_NAME, name.encode()) + put(ATTRIBUTE_INT, value) + put(ATTRIBUTE_TYPE, 2)
        )
    return put(GRAPH_NODE, node)


def put(number: int, value: int | bytes, wire: int = 2) -> bytes:
    """A field: a varint, or bytes with their length (wire type 2) or without (1 and 5)."""
    if isinstance(value, int):
        return _encode(number << 3) + _encode(value)
    return _encode(number << 3 | wire) + (_encode(len(value)) if wire == 2 else b"") + value


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
