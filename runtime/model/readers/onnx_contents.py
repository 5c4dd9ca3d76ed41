"""The contents of an ONNX file: one part for each initializer, and "graph" for all else that ONNX Runtime runs.

The SHA-256 of a message is taken over its fields in the order of their numbers, that of a nested message over its own fields.
Notes to people (doc strings, producers, metadata) are left out, and so are fields that hold nothing (0, an empty text), which
some writers leave out. So a file that another program wrote again, or that got another card, has the parts that it had.

    message    for each field: number, wire type and length in decimal, then a number in decimal, bytes, or a message's SHA-256
    tensor     data type and dimensions, then its numbers as little-endian bytes, in whichever field they are
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

from runtime.base.files import read_regular
from runtime.model.readers import onnx_wire
from runtime.model.readers.contents import PART, Contents, not_finite
from runtime.model.readers.onnx_alone import read_model
from runtime.model.readers.onnx_weights import read_header, varints
from runtime.model.readers.onnx_wire import NotProtobuf, fields

INITIAL = "plif.initial"  # metadata that programs without a JSON reader start from: no note
FLOATS = {1: "<f4", 10: "<f2", 11: "<f8"}  # TensorProto.DataType -> NumPy, of those that can hold nan
MOST_DEPTH = 16  # of messages in messages


class Message(NamedTuple):
    """A kind of message: the fields that are notes, those that are messages, and those that are lists of texts."""

    notes: tuple[int, ...]
    nested: dict[int, str]
    texts: tuple[int, ...] = ()


# Field numbers of onnx.proto3. Messages of other kinds are digested as the bytes that they are.
MESSAGES = {
    "model": Message((2, 3, 4, 5, 6, 14), {7: "graph", 8: "opset"}),
    "opset": Message((), {}),
    "graph": Message((10, 16), {1: "node", 5: "tensor", 11: "value", 12: "value", 13: "value"}),
    "node": Message((6, 9), {5: "attribute"}, texts=(1, 2)),
    "attribute": Message((13,), {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"}, texts=(9,)),
    "value": Message((3, 4), {}),
}
ATTRIBUTE_FLOAT, ATTRIBUTE_FLOATS, ATTRIBUTE_INTS = 2, 7, 8

Field = tuple[int, int, bytes]  # number, wire type, value


def read_contents(path: Path) -> Contents:
    """Reads the whole file. Raises PlifError for one that `read_model` refuses."""
    return contents_of(read_model(path), path)


def read_repository(path: Path) -> Contents:
    """Of a folder for Triton: the network inside, an ONNX file or a plan. `plif verify` compares the rest with the card."""
    for model in sorted(path.glob("*/1/model.*")):
        if model.name == "model.onnx":
            return read_contents(model)
        if model.name == "model.plan":
            return Contents({"plan": hashlib.sha256(read_regular(model, PART)).hexdigest()})
    return Contents()


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
            elif depth > 1:  # of a node
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
