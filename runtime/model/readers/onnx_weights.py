"""The weights of an ONNX artifact as NumPy arrays, read at the protobuf wire level, without the onnx package.

The card's graph says which initializers there are and what they mean; this file finds tensors by name. Field numbers are those
of TensorProto in onnx.proto3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.readers import onnx_wire
from runtime.model.readers.onnx_wire import fields, messages

TENSOR_DIMS, TENSOR_TYPE, TENSOR_FLOATS, TENSOR_RAW = 1, 2, 4, 9
FLOAT32 = 1
DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 10: "<f2", 11: "<f8"}  # TensorProto.DataType -> NumPy


def read_initializers(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """{name: array [...]} of the named initializers of an ONNX file, each in its own shape and dtype (DTYPES); read-only.

    A name that the file lacks is absent from the result. Raises PlifError for a file that is not ONNX, for a named tensor of
    a data type that is not read, and for one with more or fewer bytes than its shape says.
    """
    wanted = set(names)
    found: dict[str, np.ndarray] = {}
    with onnx_wire.onnx_file(path) as (file, size):
        for start, end in messages(file, 0, size, onnx_wire.MODEL_GRAPH):
            for a, b in messages(file, start, end, onnx_wire.GRAPH_INITIALIZER):
                name = onnx_wire.text_field(file, a, b, onnx_wire.TENSOR_NAME) or ""
                if name in wanted:
                    found[name] = _tensor(file, a, b, f"{path}: tensor {name}")
    return found


def _tensor(file: BinaryIO, start: int, end: int, where: str) -> np.ndarray:
    dims: list[int] = []
    kind = 0
    data: tuple[int, int] | None = None
    for number, wire, a, b in list(fields(file, start, end)):
        if number == TENSOR_DIMS and wire == 0:
            dims.append(a)
        elif number == TENSOR_DIMS and wire == 2:
            file.seek(a)
            dims += _varints(file.read(min(b - a, 1024)))
        elif number == TENSOR_TYPE and wire == 0:
            kind = a
        elif number == TENSOR_RAW or (number == TENSOR_FLOATS and wire == 2 and kind in (0, FLOAT32)):
            data = (a, b)
        elif number == onnx_wire.TENSOR_EXTERNAL:
            raise PlifError(f"{where}: keeps its data in another file; export it again")
    if kind not in DTYPES:
        raise PlifError(f"{where}: has data type {kind}; expected one of {sorted(DTYPES)} (float32 is 1)")
    dtype = np.dtype(DTYPES[kind])
    expected = math.prod(dims) * dtype.itemsize
    length = data[1] - data[0] if data else 0
    if length != expected or len(dims) > 8:
        raise PlifError(f"{where}: holds {length} bytes; expected {expected} for shape {dims}; the file was damaged")
    file.seek(data[0] if data else start)
    return np.frombuffer(file.read(length), dtype).reshape(dims)


def _varints(buffer: bytes) -> list[int]:
    values, at = [], 0
    while at < len(buffer):
        value, at = onnx_wire.varint(buffer, at)
        values.append(value)
    return values
