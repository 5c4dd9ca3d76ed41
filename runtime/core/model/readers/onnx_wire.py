"""Reads and extends ONNX models at the protobuf wire level, without the onnx package.

A protobuf message is a sequence of fields. Each has a varint key (number << 3 | wire type) and a value: wire type 0
is a varint, 1 is 8 bytes, 5 is 4 bytes, 2 is a length and that many bytes. Field numbers below are those of
onnx.proto3.
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

MAX_BYTES = 2 << 30  # of a file: protobuf has no larger messages
_MAX_METADATA = 64 << 20  # bytes; a card is a few kB; the limit stops a wrong length

EXPECTED = "an artifact made by: plif export model.pt"

Span = tuple[int, int, int, int]  # field number, wire type, start, end (the value itself for wire type 0)


class NotProtobuf(Exception):
    """The error that bytes are no valid protobuf message."""


@contextmanager
def open_onnx(path: str | Path) -> Iterator[tuple[BinaryIO, int]]:
    """Open an ONNX file and yield it with its size in bytes. Raises PlifError if it proves to be no protobuf."""
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        size = file.seek(0, io.SEEK_END)
        if size > MAX_BYTES:
            raise PlifError(f"{path}: {size} bytes; an ONNX file has at most {MAX_BYTES}; expected {EXPECTED}")
        try:
            yield file, size
        except (NotProtobuf, UnicodeDecodeError):
            raise not_onnx_error(path, size) from None


def not_onnx_error(path: Path, size: int) -> PlifError:
    """Return the PlifError for a file of `size` bytes that is not ONNX."""
    problem = "is empty" if size == 0 else "is not an ONNX file, or was cut short"
    return PlifError(f"{path}: {problem}; expected {EXPECTED}")


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the metadata_props of an ONNX file as a dict. Raises PlifError if the file is not ONNX."""
    with open_onnx(path) as (file, size):
        return parse_metadata(file, size)


def parse_metadata(file: BinaryIO, size: int) -> dict[str, str]:
    """Read the metadata_props of an open ONNX file of `size` bytes. Raises NotProtobuf if it is not ONNX."""
    metadata: dict[str, str] = {}
    has_graph = False
    for number, wire, start, end in iterate_fields(file, 0, size):
        if number not in MODEL_FIELDS:
            raise NotProtobuf
        if number == MODEL_GRAPH and wire == 2:
            has_graph = True
        if number == MODEL_METADATA and wire == 2:
            key, value = read_metadata_entry(file, start, end)
            metadata[key] = value
    if not has_graph:
        raise NotProtobuf
    return metadata


def read_text_field(file: BinaryIO, start: int, end: int, field_number: int) -> str | None:
    """Return the text in a field of the protobuf message in bytes [start, end); None if none is under 4096 bytes."""
    for a, b in iterate_messages(file, start, end, field_number):
        if b - a < 4096:
            file.seek(a)
            return file.read(b - a).decode("utf-8", "replace")
    return None


def iterate_messages(file: BinaryIO, start: int, end: int, field_number: int) -> Iterator[tuple[int, int]]:
    """Yield (start, end), in bytes, of each value of a protobuf field that has a length (texts, messages)."""
    return ((a, b) for number, wire, a, b in iterate_fields(file, start, end) if number == field_number and wire == 2)


def iterate_fields(file: BinaryIO, start: int, end: int) -> Iterator[Span]:
    """Yield the fields of the protobuf message in bytes [start, end) of a file; values are skipped, not read."""
    position = start
    while position < end:
        file.seek(position)
        buffer = file.read(min(20, end - position))
        key, used = decode_varint(buffer, 0)
        number, wire = key >> 3, key & 7
        if number == 0 or key >= 1 << 32:  # other parsers would take the lower 32 bits
            raise NotProtobuf
        if wire == 0:
            value, used = decode_varint(buffer, used)
            position += used
            yield number, wire, value, value
        elif wire == 2:
            length, used = decode_varint(buffer, used)
            if length > end - position - used:
                raise NotProtobuf
            yield number, wire, position + used, position + used + length
            position += used + length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            if position + used + width > end:
                raise NotProtobuf
            yield number, wire, position + used, position + used + width
            position += used + width
        else:
            raise NotProtobuf


def read_metadata_entry(file: BinaryIO, start: int, end: int) -> tuple[str, str]:
    """Read the key and the value of the ONNX metadata entry in bytes [start, end)."""
    if end - start > _MAX_METADATA:
        raise NotProtobuf
    key = value = ""
    for number, wire, a, b in list(iterate_fields(file, start, end)):
        if wire == 2 and number in (1, 2):
            file.seek(a)
            text = file.read(b - a).decode("utf-8")
            key, value = (text, value) if number == 1 else (key, text)
    return key, value


def decode_varint(buffer: bytes, position: int) -> tuple[int, int]:
    """Decode the varint at a byte position, and return it with the position of the next field.

    Parsers differ in how they read a number that is written with more bytes than it needs, or has more than 64 bits.
    No writer writes one, so it is refused.
    """
    value = shift = 0
    while True:
        if position >= len(buffer) or shift > 63:
            raise NotProtobuf
        byte = buffer[position]
        value |= (byte & 0x7F) << shift
        position += 1
        if not byte & 0x80:
            if value >> 64 or (byte == 0 and shift):
                raise NotProtobuf
            return value, position
        shift += 7


# --- writing ------------------------------------------------------------------------------------------------------
# Protobuf merges two messages of one field (its specification says so). So a second, small graph that is appended to the
# bytes of a model adds its nodes and outputs to the model's graph.


def add_rate_outputs(model: bytes, taps: dict[str, str], graded: Collection[str] = ()) -> bytes:
    """Add firing rates to an ONNX model as outputs: for each tensor in `taps` the mean of each row, float32 [B].

    taps    {output name: tensor name}; the mean of a layer's spikes over its neurons is its firing rate in that
            step
    graded  outputs with spikes of any size, which count as one each
    """
    graph = b""
    rows = encode_field(
        1, encode_field(1, FLOAT) + encode_field(2, encode_field(1, b""))
    )  # float32 of one axis: ONNX Runtime 1.23 wants to know it in a loop
    for output, tensor in taps.items():
        flat = f"{output}.flat"
        if output in graded:
            graph += encode_node("Sign", [tensor], f"{output}.sign")
            graph += encode_node("Abs", [f"{output}.sign"], f"{output}.one")
            tensor = f"{output}.one"
        axes = (
            encode_field(8, f"{output}.axes".encode())
            + encode_field(1, 1)
            + encode_field(2, 7)
            + encode_field(9, (1).to_bytes(8, "little"))
        )
        graph += encode_node("Flatten", [tensor], flat, {"axis": 1})
        graph += encode_node("ReduceMean", [flat, f"{output}.axes"], output, {"keepdims": 0})
        graph += encode_field(GRAPH_INITIALIZER, axes) + encode_field(
            GRAPH_OUTPUT, encode_field(1, output.encode()) + encode_field(2, rows)
        )
    return model + encode_field(MODEL_GRAPH, graph)


# The bytes around a type: of a Cast node that is not a weight's, and of the zero point of counts.
_TYPES = (rb'((?<!\.weight8/Cast)"\x04Cast\*\t\n\x02to\x18)\x03(\xa0\x01\x02)', rb"(\x10)\x03(B\tzero\.int8)")
_PACKED = re.compile(rb'\.weight8/Cast"\x04Cast')


def adapt_types(model: bytes, onnxruntime: str) -> bytes:
    """Change the types in an ONNX model to those for which a version of ONNX Runtime has kernels.

    Before 1.24, the last for Python 3.10, it convolves uint8, but no int8. The counts that a ConvInteger reads are 0
    to 64, so all sums are the same numbers. A Cast to int8 and the zero point change their type; nothing else
    changes. Before 1.23 ONNX Runtime cannot convert weights of 4 bits to bytes: raises PlifError for these.
    """
    version = tuple(map(int, onnxruntime.split(".")[:2]))
    if version < (1, 23) and _PACKED.search(model):
        raise PlifError(
            f"weights of 4 bits need ONNX Runtime 1.23 or later, and this is {onnxruntime}: update it, use --engine event, or "
            "export with --precision int8"
        )
    if version < (1, 24):
        for types in _TYPES:
            model = re.sub(types, lambda match: match[1] + b"\x02" + match[2], model)
    return model


def copy_field(file: BinaryIO, field: Span) -> bytes:
    """Return a field of an ONNX file as bytes to write, unchanged."""
    number, wire, start, end = field
    if wire == 0:
        return encode_field(number, start)
    file.seek(start)
    return encode_field(number, file.read(end - start), wire)


def encode_node(op: str, inputs: list[str], output: str, attributes: Mapping[str, int] = MappingProxyType({})) -> bytes:
    """Encode the protobuf field that adds a node of ONNX's own domain, with one output, to a graph."""
    node = b"".join(encode_field(NODE_INPUT, name.encode()) for name in inputs)
    node += (
        encode_field(NODE_OUTPUT, output.encode())
        + encode_field(NODE_NAME, output.encode())
        + encode_field(NODE_OP, op.encode())
    )
    for name, value in attributes.items():
        node += encode_field(
            NODE_ATTRIBUTE,
            encode_field(ATTRIBUTE_NAME, name.encode())
            + encode_field(ATTRIBUTE_INT, value)
            + encode_field(ATTRIBUTE_TYPE, 2),
        )
    return encode_field(GRAPH_NODE, node)


def encode_field(number: int, value: int | bytes, wire: int = 2) -> bytes:
    """Encode a protobuf field: a varint, or bytes with their length (wire type 2) or without (1 and 5)."""
    if isinstance(value, int):
        return _encode_varint(number << 3) + _encode_varint(value)
    return _encode_varint(number << 3 | wire) + (_encode_varint(len(value)) if wire == 2 else b"") + value


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
