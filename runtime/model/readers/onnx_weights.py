"""The weights of an ONNX artifact as NumPy arrays, read at the protobuf wire level, without the onnx package.

The card's graph says which initializers there are and what they mean; this file finds tensors by name. Field numbers are those
of TensorProto in onnx.proto3.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.readers import onnx_wire
from runtime.model.readers.onnx_alone import (
    TENSOR_DIMS,
    TENSOR_DOUBLES,
    TENSOR_FLOATS,
    TENSOR_LOCATION,
    TENSOR_RAW,
    TENSOR_TYPE,
    read_model,
)
from runtime.model.readers.onnx_wire import NotProtobuf, Span, fields, messages, not_onnx

TENSOR_NOTES = (12, 16)  # doc_string, metadata_props
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}  # TensorProto.DataType -> NumPy


def read_initializers(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """{name: array [...]} of the named initializers of an ONNX file, each in its own shape and dtype (DTYPES); read-only.

    A name that the file lacks is absent from the result. Raises PlifError for a file that `read_model` refuses, for a named
    tensor of a data type that is not read, and for one with more or fewer bytes than its shape says.
    """
    wanted = set(names)
    found: dict[str, np.ndarray] = {}
    data = read_model(path)
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
    expected = math.prod(dims) * dtype.itemsize
    start, end = header.data[0] if len(header.data) == 1 else (0, 0)
    if end - start != expected or len(dims) > 8:
        raise PlifError(
            f"{where}: holds {end - start} bytes; expected {expected} for shape {dims}; the file was damaged"
        )
    file.seek(start)
    return np.frombuffer(file.read(expected), dtype).reshape(dims)


def varints(buffer: bytes) -> list[int]:
    """The numbers of a packed list of them."""
    values, at = [], 0
    while at < len(buffer):
        value, at = onnx_wire.varint(buffer, at)
        values.append(value)
    return values
