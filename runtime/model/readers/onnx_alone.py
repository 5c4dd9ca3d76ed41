"""A model in ONNX as the bytes of its file, after it was found to be alone: nothing in it leads to another file or has no end.

What opens a model follows names in it: a tensor may have its data in another file, anywhere on the disk. So every message
that may hold a tensor is looked at, and a field that plif writes nowhere is refused, in place of guessing what it may hold.
Graphs within nodes are among these: they are the bodies of loops, which may turn for ever.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

from runtime.base.errors import PlifError
from runtime.model.readers.onnx_wire import TENSOR_NAME, NotProtobuf, fields, onnx_file, text_field

MOST_FIELDS = 4_000_000  # a network of 8 layers in 64 steps has 60,000

# The fields of each message that plif writes, by their numbers in onnx.proto3, and the message that a field holds. Not
# here are, for example, training (20) and functions (25) of a model, sparse tensors (15 of a graph, 22 of an attribute), and
# graphs within nodes (6 and 11 of an attribute).
MESSAGES: dict[str, dict[int, str | None]] = {
    "model": dict.fromkeys((1, 2, 3, 4, 5, 6, 8, 14)) | {7: "graph"},
    "graph": dict.fromkeys((2, 10, 11, 12, 13, 16)) | {1: "node", 5: "tensor"},
    "node": dict.fromkeys((1, 2, 3, 4, 6, 7, 9)) | {5: "attribute"},
    "attribute": dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 14, 20)) | {5: "tensor", 10: "tensor"},
    "tensor": dict.fromkeys((1, 2, 4, 5, 7, 8, 9, 10, 11, 12, 13, 14, 16)),
}
NODE_DOMAIN = 7
TENSOR_DIMS, TENSOR_TYPE, TENSOR_FLOATS, TENSOR_RAW, TENSOR_DOUBLES = 1, 2, 4, 9, 10
TENSOR_EXTERNAL, TENSOR_LOCATION = 13, 14


def read_model(path: str | Path) -> bytes:
    """The bytes of an ONNX file, of which each tensor is inside. Raises PlifError for any other file."""
    path = Path(path)
    with onnx_file(path) as (file, size):
        file.seek(0)
        data = file.read(size)
        _Walk(path, data).message("model", 0, len(data))
    return data


class _Walk:
    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data = path, data
        self.file: BinaryIO = io.BytesIO(data)
        self.fields = 0

    def message(self, kind: str, start: int, end: int) -> None:
        """Looks at the message in bytes [start, end), and at those in it."""
        known = MESSAGES[kind]
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
                self.message(inside, a, b)
            elif kind == "tensor":
                if number == TENSOR_EXTERNAL or (number == TENSOR_LOCATION and (wire != 0 or a)):
                    name = text_field(self.file, start, end, TENSOR_NAME) or "?"
                    raise PlifError(f"{self.path}: tensor '{name}' keeps its data in another file; export it again")
            elif kind == "node" and number == NODE_DOMAIN and (wire != 2 or a != b):
                raise PlifError(f"{self.path}: a node of another domain than ONNX's own; export it again")
