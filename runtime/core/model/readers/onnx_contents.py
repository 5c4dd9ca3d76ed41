"""An ONNX file, read at the protobuf wire level, without the onnx package: that it is alone, its weights, and its contents.

Alone: nothing in it leads to another file or has no end. What opens a model follows names in it: a tensor may have its data in
another file, anywhere on the disk. So every message that may hold a tensor is looked at, and a field that plif writes nowhere is
refused, in place of guessing what it may hold. Graphs within nodes are among these: they are the bodies of loops, which may turn
for ever; but that of a Scan has as many turns as its input has steps, where a form is one (runtime/forms).

Weights: the card's graph says which initializers there are and what they mean; tensors are found by name, as NumPy arrays. Field
numbers are those of TensorProto in onnx.proto3.

Contents: one part for each initializer, and "graph" for all else that ONNX Runtime runs. The SHA-256 of a message is taken over
its fields in the order of their numbers, that of a nested message over its own fields. Notes to people (doc strings, producers,
metadata) are left out, and so are fields that hold nothing (0, an empty text), which some writers leave out. So a file that
another program wrote again, or that got another card, has the parts that it had.

    message    for each field: number, wire type and length in decimal, then a number in decimal, bytes, or a message's SHA-256
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
from runtime.core.model.readers.contents import Contents, not_finite
from runtime.core.model.readers.onnx_wire import (
    TENSOR_NAME,
    TENSOR_TYPE,
    NotProtobuf,
    Span,
    fields,
    messages,
    not_onnx,
    onnx_file,
    text_field,
)
from runtime.core.parts import find_parts, given_by_parts

INITIAL = "plif.initial"  # metadata that programs without a JSON reader start from: no note
FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType -> NumPy, of those that can hold nan
MOST_DEPTH = 16  # of messages in messages


class MessageKind(NamedTuple):
    """A kind of message: the fields that are notes, those that are messages, and those that are lists of texts."""

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
    """Reads the whole file. Raises PlifError for one that `read_model` refuses."""
    return contents_of(read_model(path), path)


def contents_of(data: bytes, path: Path) -> Contents:
    """The contents of the bytes of an ONNX file that is alone; `path` is for messages only. Raises PlifError for other bytes."""
    reader = _Reader(data, path)
    try:
        return Contents(reader.parts(), reader.not_finite)
    except (NotProtobuf, UnicodeDecodeError):
        raise onnx_wire.not_onnx(path, len(data)) from None


class _Reader:
    def __init__(self, data: bytes, path: Path) -> None:
        self.path, self.data, self.file = path, memoryview(data), BytesIO(data)
        self.initializers: dict[str, str] = {}
        self.not_finite: str | None = None

    def parts(self) -> dict[str, str]:
        graph = self.message("model", 0, len(self.data), 0)
        metadata = onnx_wire.metadata_of(self.file, len(self.data))
        initial = {INITIAL: hashlib.sha256(metadata[INITIAL].encode()).hexdigest()} if INITIAL in metadata else {}
        return {"graph": graph.hex(), **initial, **self.initializers}

    def message(self, kind: str, start: int, end: int, depth: int) -> bytes:
        """The SHA-256 of the message of that kind in bytes [start, end)."""
        if depth > MOST_DEPTH:
            raise NotProtobuf
        notes, nested, texts = MESSAGES[kind]
        found: list[Field] = []
        for number, wire, a, b in fields(self.file, start, end):
            if number in notes:
                continue
            if number not in nested or wire != 2:
                values = self.attribute(number, wire, a, b) if kind == "attribute" else None
                if values is None:
                    values = [(number, wire, b"%d" % a if wire == 0 else bytes(self.data[a:b]))]
                    if number not in texts and not values[0][2].strip(b"\0" if wire else b"0"):
                        continue
                found += values
            elif nested[number] != "tensor":
                found.append((number, wire, self.message(nested[number], a, b, depth + 1)))
            elif kind != "graph":  # of a node
                found.append((number, wire, self.tensor("a node", a, b)))
            else:
                self.initializer(a, b)
        found.sort(key=lambda field: field[0])  # stable: the values of a list keep their order
        return hashlib.sha256(b"".join(b"%d %d %d %b" % (n, w, len(v), v) for n, w, v in found)).digest()

    def attribute(self, number: int, wire: int, a: int, b: int) -> list[Field] | None:
        """The numbers of an attribute, one by one, since they may be packed or not; None for its other fields."""
        if number == ATTRIBUTE_INTS and wire in (0, 2):
            ints = [a] if wire == 0 else varints(bytes(self.data[a:b]))
            return [(number, 0, b"%d" % value) for value in ints]
        if number in (ATTRIBUTE_FLOAT, ATTRIBUTE_FLOATS) and wire in (2, 5) and (b - a) % 4 == 0:
            self.look_at("a node's attribute", 1, self.data[a:b])
            return [(number, 5, bytes(self.data[i : i + 4])) for i in range(a, b, 4)]
        return None

    def initializer(self, start: int, end: int) -> None:
        part = f"tensor {read_header(self.file, start, end).name}"
        if part in self.initializers:  # nobody can say which of them counts
            raise NotProtobuf
        self.initializers[part] = self.tensor(part, start, end).hex()

    def tensor(self, name: str, start: int, end: int) -> bytes:
        """The SHA-256 of a tensor, whatever its name."""
        header = read_header(self.file, start, end)
        sha = hashlib.sha256(f"{header.kind} {header.dims} ".encode())
        for a, b in header.data:
            sha.update(self.data[a:b])
            self.look_at(name, header.kind, self.data[a:b], header.dims)
        for number, wire, a, b in header.others:
            sha.update(
                b"%d %d %d %b" % ((number, wire, a, b"") if wire == 0 else (number, wire, b - a, bytes(self.data[a:b])))
            )
        return sha.digest()

    def look_at(self, name: str, kind: int, data: memoryview, dims: Sequence[int] = (-1,)) -> None:
        """Remembers the first numbers that are not finite; kind: a TensorProto.DataType, dims: their shape."""
        dtype = FLOATS.get(kind)
        if dtype and self.not_finite is None and len(data) % np.dtype(dtype).itemsize == 0:
            values = np.frombuffer(data, dtype)
            self.not_finite = not_finite(name, values.reshape(dims) if math.prod(dims) == len(values) else values)


MOST_FIELDS = 4_000_000  # a network of 8 layers in 64 steps has 60,000

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
    """The bytes of an ONNX file, of which each tensor is inside. Raises PlifError for any other file."""
    return _read(Path(path))[0]


def _read(path: Path) -> tuple[bytes, bool]:
    """The same, and whether there is a Scan in it."""
    with onnx_file(path) as (file, size):
        file.seek(0)
        data = file.read(size)
        walk = _Walk(path, data)
        walk.message("model", 0, len(data))
    return data, walk.scans


def read_step(path: str | Path) -> bytes:
    """As read_model, of a file that is a Scan the step form that is in it."""
    data, scans = _read(Path(path))
    try:
        return step_in(data) if scans else data
    except (NotProtobuf, UnicodeDecodeError):
        raise not_onnx(Path(path), len(data)) from None


def step_in(model: bytes) -> bytes:
    """The step form in a model that is a Scan, as the form that is one finds it."""
    step: bytes = given_by_parts("forms", SCAN)(model)
    return step


class _Walk:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data
        self.file: BinaryIO = io.BytesIO(data)
        self.fields, self.scans = 0, False
        self.may_scan = any(SCAN in part.gives for part in find_parts("forms").values())

    def message(self, kind: str, start: int, end: int) -> None:
        """Looks at the message in bytes [start, end), and at those in it."""
        known = ALLOWED[kind]
        for number, wire, a, b in fields(self.file, start, end):
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise PlifError(f"{self.path}: more than {MOST_FIELDS} fields; expected a network")
            if number not in known:
                raise PlifError(
                    f"{self.path}: its {kind} has a field {number}, which plif does not write; export it again"
                )
            if (inside := known[number]) is not None:
                if wire != 2:
                    raise NotProtobuf
                if (kind, inside) == ("graph", "node") and self.may_scan and self.is_scan(a, b):
                    inside, self.scans = "scan", True
                self.message(inside, a, b)
            elif kind == "tensor":
                if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and (wire != 0 or a)):
                    name = text_field(self.file, start, end, TENSOR_NAME) or "?"
                    raise PlifError(f"{self.path}: tensor '{name}' keeps its data in another file; export it again")
            elif kind in ("node", "scan") and number == NODE_DOMAIN and (wire != 2 or a != b):
                raise PlifError(f"{self.path}: a node of another domain than ONNX's own; export it again")

    def is_scan(self, start: int, end: int) -> bool:
        """Whether a node says once what it is, and that is a Scan."""
        ops = list(messages(self.file, start, end, onnx_wire.NODE_OP))
        return len(ops) == 1 and text_field(self.file, start, end, onnx_wire.NODE_OP) == SCAN


TENSOR_NOTES = (12, 16)  # doc_string, metadata_props
# TensorProto.DataType -> NumPy; the last two are UINT4 and INT4, which it lacks
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8", 21: "u1", 22: "i1"}
PACKED = (21, 22)


def read_initializers(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """{name: array [...]} of the named initializers of an ONNX file, each in its own shape and dtype (DTYPES); read-only.

    A name that the file lacks is absent from the result. Raises PlifError for a file that `read_model` refuses, for a named
    tensor of a data type that is not read, and for one with more or fewer bytes than its shape says.
    """
    wanted = set(names)
    found: dict[str, np.ndarray] = {}
    data = read_step(path)
    file = io.BytesIO(data)
    try:
        for start, end in messages(file, 0, len(data), onnx_wire.MODEL_GRAPH):
            for a, b in messages(file, start, end, onnx_wire.GRAPH_INITIALIZER):
                header = read_header(file, a, b)
                if header.name in wanted:
                    found[header.name] = _tensor(file, header, f"{path}: tensor {header.name}")
    except NotProtobuf:
        raise not_onnx(Path(path), len(data)) from None
    return found


class Header(NamedTuple):
    """What a tensor says of itself, and where its bytes are.

    kind    TensorProto.DataType;  dims: its shape
    data    (start, end), in bytes, of what is stored as the numbers lie in memory, little-endian
    others  fields that are none of these, and no note: numbers that are stored in other ways
    """

    name: str
    kind: int
    dims: list[int]
    data: list[tuple[int, int]]
    others: list[Span]


def read_header(file: BinaryIO, start: int, end: int) -> Header:
    """The header of the TensorProto in bytes [start, end) of a file; its numbers are not read."""
    name, kind = "", 0
    dims: list[int] = []
    data, others = [], []
    for number, wire, a, b in fields(file, start, end):
        if number == TENSOR_DIMS and wire == 0:
            dims.append(a)
        elif number == TENSOR_DIMS and wire == 2:
            file.seek(a)
            dims += varints(file.read(min(b - a, 1024)))
        elif number == TENSOR_TYPE and wire == 0:
            kind = a
        elif number == onnx_wire.TENSOR_NAME and wire == 2:
            file.seek(a)
            name = file.read(min(b - a, 4096)).decode("utf-8", "replace")
        elif number in (TENSOR_RAW, TENSOR_FLOATS, TENSOR_DOUBLES) and wire != 0:
            data.append((a, b))
        elif number not in TENSOR_NOTES and (number, wire, a) != (TENSOR_LOCATION, 0, 0):
            others.append((number, wire, a, b))
    return Header(name, kind, dims, data, others)


def _tensor(file: BinaryIO, header: Header, where: str) -> np.ndarray:
    dims = header.dims
    if header.kind not in DTYPES:
        raise PlifError(f"{where}: has data type {header.kind}; expected one of {sorted(DTYPES)} (float32 is 1)")
    dtype = np.dtype(DTYPES[header.kind])
    count = math.prod(dims)
    expected = (count + 1) // 2 if header.kind in PACKED else count * dtype.itemsize
    start, end = header.data[0] if len(header.data) == 1 else (0, 0)
    if end - start != expected or len(dims) > 8:
        raise PlifError(
            f"{where}: holds {end - start} bytes; expected {expected} for shape {dims}; the file was damaged"
        )
    file.seek(start)
    data = file.read(expected)
    if header.kind in PACKED:
        whole = unpack(np.frombuffer(data, np.uint8), 4, count)
        return (whole if dtype == np.int8 else whole.view(np.uint8) & 15).reshape(dims)
    return np.frombuffer(data, dtype).reshape(dims)


def varints(buffer: bytes) -> list[int]:
    """The numbers of a packed list of them."""
    values, at = [], 0
    while at < len(buffer):
        value, at = onnx_wire.varint(buffer, at)
        values.append(value)
    return values
