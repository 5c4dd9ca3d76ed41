"""Reads an ONNX file at the protobuf wire level, without the onnx package: its safety, weights and contents.

Safety: no field leads to another file or to an endless loop. A tensor may have its data in another file, anywhere on
the disk, so every message that may hold a tensor is checked, and a field that plif never writes is refused. So are
graphs within nodes: they are the bodies of loops, which may run for ever. The body of a Scan is allowed where a form
is one (runtime/forms), since it runs once for each step of its input.

Weights: the card's graph names the initializers and their meaning; tensors are found by name, as NumPy arrays. Field
numbers are those of TensorProto in onnx.proto3.

Contents: one part for each initializer, and "graph" for all else that ONNX Runtime runs. The SHA-256 of a message
covers its fields in the order of their numbers, that of a nested message its own fields. Notes to people (doc strings,
producers, metadata) are left out, and so are empty fields (0, an empty text), which some writers omit. So a file that
another program wrote again, or that got another card, has the same parts.

    message    for each field: number, wire type and length in decimal, then a number in decimal, bytes, or a
               message's SHA-256
    tensor     data type and dimensions, then its numbers as little-endian bytes, in whichever field they are
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.model.grids import unpack
from runtime.core.model.readers import onnx_wire
from runtime.core.model.readers.contents import Contents, find_non_finite
from runtime.core.model.readers.onnx_wire import (
    TENSOR_NAME,
    TENSOR_TYPE,
    NotProtobuf,
    Span,
    iterate_fields,
    iterate_messages,
    not_onnx_error,
    open_onnx,
    read_text_field,
)
from runtime.core.parts import find_parts, load_from_parts

INITIAL = "plif.initial"  # metadata with the initial states, for programs without a JSON reader
FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType -> NumPy, of those that can hold nan
MAX_DEPTH = 16  # of messages in messages


class MessageKind(NamedTuple):
    """A kind of protobuf message: its fields that are notes, nested messages and lists of texts; for hashing."""

    notes: tuple[int, ...]
    nested: dict[int, str]
    texts: tuple[int, ...] = ()


# Field numbers of onnx.proto3. Messages of other kinds are digested as the bytes that they are.
MESSAGES = {
    "model": MessageKind((2, 3, 4, 5, 6, 14), {7: "graph", 8: "opset"}),
    "opset": MessageKind((), {}),
    "graph": MessageKind((10, 16), {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"}),
    "node": MessageKind((6, 9), {5: "attribute"}, texts=(1, 2)),
    "attribute": MessageKind((13,), {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"}, texts=(9,)),
    "value": MessageKind((3, 4), {}),
}
ATTRIBUTE_FLOAT, ATTRIBUTE_FLOATS, ATTRIBUTE_INTS = 2, 7, 8

Field = tuple[int, int, bytes]  # number, wire type, value


def read_contents(path: Path) -> Contents:
    """Read a whole ONNX file and hash its parts. Raises PlifError for a file that `read_model` refuses."""
    return hash_contents(read_model(path), path)


def hash_contents(data: bytes, path: Path) -> Contents:
    """Hash the parts of an ONNX model in memory; `path` is for messages only. Raises PlifError for other bytes."""
    reader = _ContentsHasher(data, path)
    try:
        return Contents(reader.hash_parts(), reader.not_finite)
    except (NotProtobuf, UnicodeDecodeError):
        raise onnx_wire.not_onnx_error(path, len(data)) from None


class _ContentsHasher:
    def __init__(self, data: bytes, path: Path) -> None:
        self.path, self.data, self.file = path, memoryview(data), BytesIO(data)
        self.initializers: dict[str, str] = {}
        self.not_finite: str | None = None

    def hash_parts(self) -> dict[str, str]:
        graph = self.hash_message("model", 0, len(self.data), 0)
        metadata = onnx_wire.parse_metadata(self.file, len(self.data))
        initial = {INITIAL: hashlib.sha256(metadata[INITIAL].encode()).hexdigest()} if INITIAL in metadata else {}
        return {"graph": graph.hex(), **initial, **self.initializers}

    def hash_message(self, kind: str, start: int, end: int, depth: int) -> bytes:
        """Return the SHA-256 of the protobuf message in bytes [start, end)."""
        if depth > MAX_DEPTH:
            raise NotProtobuf
        notes, nested, texts = MESSAGES[kind]
        entries: list[Field] = []
        for number, wire, a, b in iterate_fields(self.file, start, end):
            if number in notes:
                continue
            if number not in nested or wire != 2:
                values = self.read_attribute(number, wire, a, b) if kind == "attribute" else None
                if values is None:
                    values = [(number, wire, b"%d" % a if wire == 0 else bytes(self.data[a:b]))]
                    if number not in texts and not values[0][2].strip(b"\0" if wire else b"0"):
                        continue
                entries += values
            elif nested[number] != "tensor":
                entries.append((number, wire, self.hash_message(nested[number], a, b, depth + 1)))
            elif kind != "graph":  # in a node
                entries.append((number, wire, self.hash_tensor("a node", a, b)))
            else:
                self.hash_initializer(a, b)
        entries.sort(key=lambda field: field[0])  # stable: the values of a list keep their order
        return hashlib.sha256(b"".join(b"%d %d %d %b" % (n, w, len(v), v) for n, w, v in entries)).digest()

    def read_attribute(self, number: int, wire: int, a: int, b: int) -> list[Field] | None:
        """Return the numbers in a field of an ONNX attribute one by one, packed or not; None for other fields."""
        if number == ATTRIBUTE_INTS and wire in (0, 2):
            ints = [a] if wire == 0 else decode_varints(bytes(self.data[a:b]))
            return [(number, 0, b"%d" % value) for value in ints]
        if number in (ATTRIBUTE_FLOAT, ATTRIBUTE_FLOATS) and wire in (2, 5) and (b - a) % 4 == 0:
            self.record_non_finite("a node's attribute", 1, self.data[a:b])
            return [(number, 5, bytes(self.data[i : i + 4])) for i in range(a, b, 4)]
        return None

    def hash_initializer(self, start: int, end: int) -> None:
        part = f"tensor {read_tensor_header(self.file, start, end).name}"
        if part in self.initializers:  # two of one name are ambiguous
            raise NotProtobuf
        self.initializers[part] = self.hash_tensor(part, start, end).hex()

    def hash_tensor(self, name: str, start: int, end: int) -> bytes:
        """Return the SHA-256 of a tensor's type, shape and numbers, without its name."""
        header = read_tensor_header(self.file, start, end)
        sha = hashlib.sha256(f"{header.kind} {header.dims} ".encode())
        for a, b in header.data:
            sha.update(self.data[a:b])
            self.record_non_finite(name, header.kind, self.data[a:b], header.dims)
        for number, wire, a, b in header.other_fields:
            sha.update(
                b"%d %d %d %b" % ((number, wire, a, b"") if wire == 0 else (number, wire, b - a, bytes(self.data[a:b])))
            )
        return sha.digest()

    def record_non_finite(self, name: str, kind: int, data: memoryview, dims: Sequence[int] = (-1,)) -> None:
        """Record the first numbers of a tensor [*dims] that are not finite; `kind` is a TensorProto.DataType."""
        dtype = FLOATS.get(kind)
        if dtype and self.not_finite is None and len(data) % np.dtype(dtype).itemsize == 0:
            values = np.frombuffer(data, dtype)
            self.not_finite = find_non_finite(name, values.reshape(dims) if math.prod(dims) == len(values) else values)


MAX_FIELDS = 4_000_000  # a network of 8 layers in 64 steps has 60,000

# The fields of each message that plif writes, by their numbers in onnx.proto3, and the message that a field holds. Not
# here are, for example, training (20) and functions (25) of a model, sparse tensors (15 of a graph, 22 of an attribute), and
# graphs within nodes (6 and 11 of an attribute), but for the body of a Scan, in which there is no other graph.
ALLOWED: dict[str, dict[int, str | None]] = {
    "model": dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 14)) | {7: "graph"},
    "graph": dict.fromkeys((2, 10, 11, 12, 13, 16)) | {1: "node", 5: "tensor"},
    "node": dict.fromkeys((1, 2, 3, 4, 6, 7, 9)) | {5: "attribute"},
    "attribute": dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 14, 20)) | {5: "tensor", 10: "tensor"},
    "tensor": dict.fromkeys((1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 16)),
}
NODE_DOMAIN = 7
SCAN = "Scan"
TENSOR_DIMS, TENSOR_FLOATS, TENSOR_RAW, TENSOR_DOUBLES = 1, 4, 9, 10
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14
ALLOWED |= {  # a Scan of the file's own graph; in its body no node is one
    "scan": ALLOWED["node"] | {5: "attribute of a scan"},
    "attribute of a scan": ALLOWED["attribute"] | {6: "body"},
    "body": ALLOWED["graph"],
}


def read_model(path: str | Path) -> bytes:
    """Read the bytes of an ONNX file; refuse one with tensors in other files. Raises PlifError."""
    return _read_checked(Path(path))[0]


def _read_checked(path: Path) -> tuple[bytes, bool]:
    """Read the bytes of a safe ONNX file, and whether it has a Scan node."""
    with open_onnx(path) as (file, size):
        file.seek(0)
        data = file.read(size)
        walk = _FieldChecker(path, data)
        walk.check_message("model", 0, len(data))
    return data, walk.has_scan


def read_step_form(path: str | Path) -> bytes:
    """Read an ONNX file; of a model that loops over time-steps (Scan), return the one-step model inside it."""
    data, scans = _read_checked(Path(path))
    try:
        return extract_step_form(data) if scans else data
    except (NotProtobuf, UnicodeDecodeError):
        raise not_onnx_error(Path(path), len(data)) from None


def extract_step_form(model: bytes) -> bytes:
    """Return the one-step model inside a model that loops (Scan), by the plug-in part that writes such models."""
    step: bytes = load_from_parts("forms", SCAN)(model)
    return step


class _FieldChecker:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data
        self.file: BinaryIO = io.BytesIO(data)
        self.fields, self.has_scan = 0, False
        self.may_scan = any(SCAN in part.gives for part in find_parts("forms").values())

    def check_message(self, kind: str, start: int, end: int) -> None:
        """Check the fields of a protobuf message in bytes [start, end), and of its nested messages."""
        allowed = ALLOWED[kind]
        for number, wire, a, b in iterate_fields(self.file, start, end):
            self.fields += 1
            if self.fields > MAX_FIELDS:
                raise PlifError(f"{self.path}: more than {MAX_FIELDS} fields; expected a network")
            if number not in allowed:
                raise PlifError(
                    f"{self.path}: its {kind} has a field {number}, which plif does not write; export it again"
                )
            if (inside := allowed[number]) is not None:
                if wire != 2:
                    raise NotProtobuf
                if (kind, inside) == ("graph", "node") and self.may_scan and self.is_scan(a, b):
                    inside, self.has_scan = "scan", True
                self.check_message(inside, a, b)
            elif kind == "tensor":
                if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and (wire != 0 or a)):
                    name = read_text_field(self.file, start, end, TENSOR_NAME) or "?"
                    raise PlifError(f"{self.path}: tensor '{name}' keeps its data in another file; export it again")
            elif kind in ("node", "scan") and number == NODE_DOMAIN and (wire != 2 or a != b):
                raise PlifError(f"{self.path}: a node of another domain than ONNX's own; export it again")

    def is_scan(self, start: int, end: int) -> bool:
        """Return whether an ONNX node has exactly one operator type, and it is Scan."""
        ops = list(iterate_messages(self.file, start, end, onnx_wire.NODE_OP))
        return len(ops) == 1 and read_text_field(self.file, start, end, onnx_wire.NODE_OP) == SCAN


TENSOR_NOTES = (12, 16)  # doc_string, metadata_props
# TensorProto.DataType -> NumPy; the last two are UINT4 and INT4, which NumPy lacks
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8", 21: "u1", 22: "i1"}
PACKED = (21, 22)


def read_initializers(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Return {name: array [...]} of the named initializers of an ONNX file, in their own shape and dtype; read-only.

    A name that the file lacks is absent from the result. DTYPES lists the data types. Raises PlifError for a file
    that `read_model` refuses, for a named tensor of an unknown data type, and for one with more or fewer bytes than
    its shape says.
    """
    selected = set(names)
    arrays: dict[str, np.ndarray] = {}
    data = read_step_form(path)
    file = io.BytesIO(data)
    try:
        for start, end in iterate_messages(file, 0, len(data), onnx_wire.MODEL_GRAPH):
            for a, b in iterate_messages(file, start, end, onnx_wire.GRAPH_INITIALIZER):
                header = read_tensor_header(file, a, b)
                if header.name in selected:
                    arrays[header.name] = _read_tensor(file, header, f"{path}: tensor {header.name}")
    except NotProtobuf:
        raise not_onnx_error(Path(path), len(data)) from None
    return arrays


class TensorHeader(NamedTuple):
    """The header of a tensor in an ONNX file: its name, type and shape, and the place of its bytes.

    kind    TensorProto.DataType;  dims: its shape
    data    (start, end), in bytes, of numbers stored as they lie in memory, little-endian
    other_fields  fields that are none of these, and no note: numbers that are stored in other ways
    """

    name: str
    kind: int
    dims: list[int]
    data: list[tuple[int, int]]
    other_fields: list[Span]


def read_tensor_header(file: BinaryIO, start: int, end: int) -> TensorHeader:
    """Read the header of the TensorProto in bytes [start, end) of a file, without its numbers."""
    name, kind = "", 0
    dims: list[int] = []
    data, other_fields = [], []
    for number, wire, a, b in iterate_fields(file, start, end):
        if number == TENSOR_DIMS and wire == 0:
            dims.append(a)
        elif number == TENSOR_DIMS and wire == 2:
            file.seek(a)
            dims += decode_varints(file.read(min(b - a, 1024)))
        elif number == TENSOR_TYPE and wire == 0:
            kind = a
        elif number == onnx_wire.TENSOR_NAME and wire == 2:
            file.seek(a)
            name = file.read(min(b - a, 4096)).decode("utf-8", "replace")
        elif number in (TENSOR_RAW, TENSOR_FLOATS, TENSOR_DOUBLES) and wire != 0:
            data.append((a, b))
        elif number not in TENSOR_NOTES and (number, wire, a) != (TENSOR_LOCATION, 0, 0):
            other_fields.append((number, wire, a, b))
    return TensorHeader(name, kind, dims, data, other_fields)


def _read_tensor(file: BinaryIO, header: TensorHeader, context: str) -> np.ndarray:
    dims = header.dims
    if header.kind not in DTYPES:
        raise PlifError(f"{context}: has data type {header.kind}; expected one of {sorted(DTYPES)} (float32 is 1)")
    dtype = np.dtype(DTYPES[header.kind])
    count = math.prod(dims)
    expected = (count + 1) // 2 if header.kind in PACKED else count * dtype.itemsize
    start, end = header.data[0] if len(header.data) == 1 else (0, 0)
    if end - start != expected or len(dims) > 8:
        raise PlifError(
            f"{context}: holds {end - start} bytes; expected {expected} for shape {dims}; the file was damaged"
        )
    file.seek(start)
    data = file.read(expected)
    if header.kind in PACKED:
        values = unpack(np.frombuffer(data, np.uint8), 4, count)
        return (values if dtype == np.int8 else values.view(np.uint8) & 15).reshape(dims)
    return np.frombuffer(data, dtype).reshape(dims)


def decode_varints(buffer: bytes) -> list[int]:
    """Decode the numbers of a packed list of protobuf varints."""
    values, position = [], 0
    while position < len(buffer):
        value, position = onnx_wire.decode_varint(buffer, position)
        values.append(value)
    return values
