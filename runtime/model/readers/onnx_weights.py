"""The weights of an ONNX artifact as NumPy arrays, read at the protobuf wire level, without the onnx package.

The card's graph says which initializers there are and what they mean; this file finds tensors by name. Field numbers are those
of TensorProto in onnx.proto3.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.model.readers import onnx_wire
from runtime.model.readers.onnx_alone import DTYPES, TENSOR_DIMS, TENSOR_FLOATS, TENSOR_RAW, TENSOR_TYPE, read_model
from runtime.model.readers.onnx_wire import NotProtobuf, Span, fields, messages, not_onnx

FLOAT32 = 1


def read_initializers(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """{name: array [...]} of the named initializers of an ONNX file, each in its own shape and dtype (DTYPES); read-only.

    A name that the file lacks is absent from the result. Raises PlifError for a file that `read_model` refuses, for a named
    tensor of a data type that is not read, and for one with more or fewer bytes than its shape says.
    """
    wanted = set(names)
    found: dict[str, np.ndarray] = {}
    data = read_model(path)
    file = io.BytesIO(data)
    for start, end in messages(file, 0, len(data), onnx_wire.MODEL_GRAPH):
        for a, b in messages(file, start, end, onnx_wire.GRAPH_INITIALIZER):
            name = onnx_wire.text_field(file, a, b, onnx_wire.TENSOR_NAME) or ""
            if name in wanted:
                try:
                    found[name] = _tensor(data, list(fields(file, a, b)), f"{path}: tensor {name}")
                except NotProtobuf:
                    raise not_onnx(Path(path), len(data)) from None
    return found


def _tensor(content: bytes, parts: list[Span], where: str) -> np.ndarray:
    dims: list[int] = []
    kind = 0
    data = (0, 0)
    for number, wire, a, b in parts:
        if number == TENSOR_DIMS and wire == 0:
            dims.append(a)
        elif number == TENSOR_DIMS and wire == 2:
            dims += _varints(content[a : min(b, a + 1024)])
        elif number == TENSOR_TYPE and wire == 0:
            kind = a
        elif wire == 2 and (number == TENSOR_RAW or (number == TENSOR_FLOATS and kind in (0, FLOAT32))):
            data = (a, b)
    if kind not in DTYPES:
        raise PlifError(f"{where}: has data type {kind}; expected one of {sorted(DTYPES)} (float32 is 1)")
    dtype = np.dtype(DTYPES[kind])
    expected = math.prod(dims) * dtype.itemsize
    length = data[1] - data[0]
    if length != expected or len(dims) > 8:
        raise PlifError(f"{where}: holds {length} bytes; expected {expected} for shape {dims}; the file was damaged")
    return np.frombuffer(content[slice(*data)], dtype).reshape(dims)


def _varints(buffer: bytes) -> list[int]:
    values, at = [], 0
    while at < len(buffer):
        value, at = onnx_wire.varint(buffer, at)
        values.append(value)
    return values
