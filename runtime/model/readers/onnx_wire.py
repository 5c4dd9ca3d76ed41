"""ONNX at the protobuf wire level: reads the metadata of a model and adds outputs to it, without the onnx package.

A protobuf message is a run of fields, each a varint key (number << 3 | wire type) and a value: wire type 0 is a varint,
1 is 8 bytes, 5 is 4 bytes, 2 is a length and that many bytes. Field numbers below are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from runtime.base.errors import PlifError

MODEL_GRAPH, MODEL_METADATA = 7, 14
MODEL_FIELDS = {1, 2, 3, 4, 5, 6, 7, 8, 14, 20, 25, 26}
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_OUTPUT, GRAPH_SPARSE = 1, 5, 12, 15
NODE_INPUT, NODE_OUTPUT, NODE_NAME, NODE_OP, NODE_ATTRIBUTE = 1, 2, 3, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_TYPE = 1, 3, 20
ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS = 5, 10, 6, 11
TENSOR_NAME, TENSOR_EXTERNAL, TENSOR_LOCATION = 8, 13, 14

_MOST_METADATA = 64 << 20  # bytes; a card is a few kB, and a damaged length must not make us read more than this

Span = tuple[int, int, int, int]  # field number, wire type, start, end (the value itself for wire type 0)


class NotProtobuf(Exception):
    """The bytes are not a protobuf message."""


def read_metadata(path: str | Path) -> dict[str, str]:
    """metadata_props of an ONNX file as a dict. Raises PlifError when the file is not ONNX."""
    path = Path(path)
    size = path.stat().st_size
    metadata: dict[str, str] = {}
    saw_graph = False
    with path.open("rb") as file:
        try:
            for number, wire, start, end in read_fields(file, 0, size):
                if number not in MODEL_FIELDS:
                    raise NotProtobuf
                if number == MODEL_GRAPH and wire == 2:
                    saw_graph = True
                if number == MODEL_METADATA and wire == 2:
                    key, value = _read_entry(file, start, end)
                    metadata[key] = value
        except (NotProtobuf, UnicodeDecodeError):
            raise not_onnx(path, size) from None
    if not saw_graph:
        raise not_onnx(path, size)
    return metadata


def not_onnx(path: Path, size: int) -> PlifError:
    what = "is empty" if size == 0 else "is not an ONNX file, or was cut short"
    return PlifError(f"{path}: {what}; expected an artifact made by: plif export model.pt")


def refuse_external_data(path: str | Path) -> None:
    """Raises PlifError when any tensor of the file points outside the file: an artifact is one file, whole."""
    path = Path(path)
    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            for number, start, end in read_messages(file, 0, size):
                name = _find_external(file, start, end, depth=0) if number == MODEL_GRAPH else None
                if name is not None:
                    raise PlifError(f"{path}: tensor '{name}' keeps its data in another file; export it again")
        except NotProtobuf:
            raise not_onnx(path, size) from None


def _find_external(file: BinaryIO, start: int, end: int, depth: int) -> str | None:
    """The name of a tensor with its data in another file: in this graph, its nodes, or the graphs inside these."""
    if depth > 8:
        raise NotProtobuf
    for number, a, b in read_messages(file, start, end):
        if number == GRAPH_INITIALIZER and _is_external(file, a, b):
            return read_text(file, a, b, TENSOR_NAME) or "?"
        if number == GRAPH_SPARSE:
            return "sparse"
        for field, c, d in read_messages(file, a, b, NODE_ATTRIBUTE) if number == GRAPH_NODE else ():
            if field in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS) and _is_external(file, c, d):
                return read_text(file, c, d, TENSOR_NAME) or "?"
            if field in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS) and (found := _find_external(file, c, d, depth + 1)):
                return found
    return None


def _is_external(file: BinaryIO, start: int, end: int) -> bool:
    return any(
        number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and wire == 0 and a != 0)
        for number, wire, a, _ in read_fields(file, start, end)
    )


def read_text(file: BinaryIO, start: int, end: int, wanted: int) -> str | None:
    """The first text field with the number `wanted`, of the message in bytes [start, end); None without one."""
    for number, wire, a, b in read_fields(file, start, end):
        if number == wanted and wire == 2 and b - a < 4096:
            file.seek(a)
            return file.read(b - a).decode("utf-8", "replace")
    return None


def read_messages(file: BinaryIO, start: int, end: int, *path: int) -> Iterator[tuple[int, int, int]]:
    """(field number, start, end) of the fields with a length (messages, texts, bytes) of the message in bytes [start, end).

    `path` goes down first: read_messages(file, 0, size, MODEL_GRAPH) gives those of the model's graph.
    """
    for number, wire, a, b in read_fields(file, start, end):
        if wire == 2 and not path:
            yield number, a, b
        elif wire == 2 and number == path[0]:
            yield from read_messages(file, a, b, *path[1:])


def read_fields(file: BinaryIO, start: int, end: int) -> Iterator[Span]:
    """The fields of the message in bytes [start, end) of a file; values are skipped, not read."""
    at = start
    while at < end:
        file.seek(at)
        buffer = file.read(min(20, end - at))
        key, used = read_varint(buffer, 0)
        number, wire = key >> 3, key & 7
        if number == 0:
            raise NotProtobuf
        if wire == 0:
            value, used = read_varint(buffer, used)
            at += used
            yield number, wire, value, value
        elif wire == 2:
            length, used = read_varint(buffer, used)
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


def _read_entry(file: BinaryIO, start: int, end: int) -> tuple[str, str]:
    if end - start > _MOST_METADATA:
        raise NotProtobuf
    key = value = ""
    for number, wire, a, b in list(read_fields(file, start, end)):
        if wire == 2 and number in (1, 2):
            file.seek(a)
            text = file.read(b - a).decode("utf-8")
            key, value = (text, value) if number == 1 else (key, text)
    return key, value


def read_varint(buffer: bytes, at: int) -> tuple[int, int]:
    """The number at position `at`, and the position after it."""
    value = shift = 0
    while True:
        if at >= len(buffer) or shift > 63:
            raise NotProtobuf
        byte = buffer[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
        shift += 7


# --- writing ------------------------------------------------------------------------------------------------------
# By the protobuf specification a message field that stands twice is merged. So outputs and nodes are added to a model by
# appending a second, small graph to its bytes.


def with_rates(model: bytes, taps: dict[str, str]) -> bytes:
    """The model with one more output for each tap {output name: tensor}: the tensor's mean per row of the batch, float32 [B].

    Used to count spikes: the mean of a layer's spikes over its neurons is its firing rate in that step.
    """
    graph = b""
    for output, tensor in taps.items():
        flat = f"{output}.flat"
        flatten = _node("Flatten", [tensor], flat, {"axis": 1})
        mean = _node("ReduceMean", [flat, f"{output}.axes"], output, {"keepdims": 0})
        axes = _bytes(8, f"{output}.axes".encode()) + _int(1, 1) + _int(2, 7) + _bytes(9, (1).to_bytes(8, "little"))
        graph += _bytes(GRAPH_NODE, flatten) + _bytes(GRAPH_NODE, mean)
        graph += _bytes(GRAPH_INITIALIZER, axes) + _bytes(GRAPH_OUTPUT, _bytes(1, output.encode()))
    return model + _bytes(MODEL_GRAPH, graph)


def _node(op: str, inputs: list[str], output: str, attributes: dict[str, int]) -> bytes:
    node = b"".join(_bytes(NODE_INPUT, name.encode()) for name in inputs)
    node += _bytes(NODE_OUTPUT, output.encode()) + _bytes(NODE_NAME, output.encode()) + _bytes(NODE_OP, op.encode())
    for name, value in attributes.items():
        attribute = _bytes(ATTRIBUTE_NAME, name.encode()) + _int(ATTRIBUTE_INT, value) + _int(ATTRIBUTE_TYPE, 2)
        node += _bytes(NODE_ATTRIBUTE, attribute)
    return node


def _int(number: int, value: int) -> bytes:
    return _encode(number << 3) + _encode(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _encode(number << 3 | 2) + _encode(len(value)) + value


def _encode(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
