"""Untrusted HDF5 files: a child process opens them (decode.py), and this module checks its output.

A hostile file may control the child, so its output is untrusted, too.

    types               numbers and texts only
    MOST_OBJECTS        groups, data sets and texts, in at most MOST_DEPTH nested groups
    bytes               of all data in memory: FREE_BYTES and MOST_TIMES the size of the file, at most MOST_BYTES
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from runtime.core.base.errors import PARSE_ERRORS, MissingExtra, PlifError
from runtime.core.base.files import open_regular
from runtime.formats.child.children import Child

if TYPE_CHECKING:
    import numpy as np

DECODE = Path(__file__).with_name("decode.py")
TEXT, FAILED = "text", (1 << 64) - 1
MOST_OBJECTS, MOST_DEPTH = 20_000, 32
# The data may be larger than the file: equal parameters of all neurons compress well.
FREE_BYTES, MOST_TIMES, MOST_BYTES = 64 << 20, 100, 4 << 30
MOST_HEADER = 1 << 20  # bytes of one record
MOST_SAID = 500  # characters
PIECE = 1 << 20
NUMBERS = re.compile(r"[<>|](b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|S[1-9]\d{0,8})")  # numbers, and texts of one length


class Refused(Exception):
    """The exception that tells why an untrusted HDF5 file is refused, as half a line for a message."""


class Hdf5Object(NamedTuple):
    """The content of one object of an HDF5 file: its values (None for a group) and its attributes.

    values      of a data set, as h5py reads it, read-only; a text is bytes; None for a group
    attributes  name -> its repr
    """

    values: np.ndarray | np.generic | bytes | None
    attributes: dict[str, str]


Hdf5Objects = Mapping[str, Hdf5Object]


def read_hdf5(path: str | Path, expected: str, extra: str = "hdf5") -> Hdf5Objects:
    """Read an untrusted HDF5 file; return its objects by path ("node/edges"), each group before its members.

    expected  for messages: the kind of the file, such as "a NIR file"
    extra     the extra of plif that installs h5py
    """
    if find_spec("h5py") is None:
        raise MissingExtra("reading an HDF5 file", extra)
    with open_regular(path, expected) as raw:
        about = os.fstat(raw.fileno())
        objects = _read(raw.fileno(), (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns))
    if isinstance(objects, str):
        raise PlifError(f"{path}: {objects if objects.startswith('/') else f'not {expected}, or damaged ({objects})'}")
    return objects


@lru_cache(maxsize=1)  # plif opens a model several times: for its card, its layers, its weights
def _read(file: int, version: tuple[int, ...]) -> Hdf5Objects | str:
    """Read the objects of an open HDF5 file in a child process; return them, or the reason of a refusal.

    version  identifies the content of the file, for the cache
    """
    size = os.fstat(file).st_size
    most = min(MOST_BYTES, FREE_BYTES + MOST_TIMES * size)
    os.lseek(file, 0, os.SEEK_SET)
    with Child(DECODE, str(2 * most), size=size, stdin=file) as child:
        try:
            return _ChildReader(child, most).read()
        except Refused as refusal:
            return str(refusal)
        except EOFError:
            code, reason = child.end()
            return reason or ("it makes the HDF5 library crash" if code < 0 else "it cannot be read")
        except PARSE_ERRORS:
            return "its contents are invalid"


class _ChildReader:
    """A reader of the child process's output, which is the content of an HDF5 file; every piece is checked.

    Raises Refused, EOFError when the output ends too early, and other exceptions for invalid pieces.
    """

    def __init__(self, child: Child, most_bytes: int) -> None:
        self.child, self.most_bytes = child, most_bytes
        self.byte_count = self.object_count = 0

    def read(self) -> Hdf5Objects:
        objects: dict[str, Hdf5Object] = {}
        path = ""
        while (length := self.read_length()) > 0:
            if length > MOST_HEADER:
                raise ValueError
            header = json.loads(self.read_counted(length, path))
            path, attributes = header["at"], header["attributes"]
            group = path.rpartition("/")[0]
            if path in objects or (group and objects[group].values is not None):
                raise ValueError
            if not all(type(text) is str for text in (path, *attributes.values())):
                raise ValueError
            self.count_objects(1 + len(attributes), path)
            if path.count("/") > MOST_DEPTH:
                raise self.refuse(path, f"lies in more than {MOST_DEPTH} groups")
            objects[path] = Hdf5Object(
                self.read_values(header["dtype"], header["shape"], path) if "dtype" in header else None, attributes
            )
        return objects

    def read_values(self, dtype: str, shape: list[int], path: str) -> np.ndarray | np.generic | bytes:
        import numpy as np

        if len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
            raise ValueError
        count = math.prod(shape)
        if dtype == TEXT:
            self.count_objects(count, path)
            values = np.empty(count, object)
            for i in range(count):
                values[i] = self.read_counted(self.read_length(), path)
        elif NUMBERS.fullmatch(dtype):
            size = count * np.dtype(dtype).itemsize
            self.count_bytes(size, path)
            if self.read_length() != size:
                raise ValueError
            data = np.empty(size, np.uint8)
            for start in range(0, size, PIECE):
                data[start : start + PIECE] = np.frombuffer(self.read_exactly(min(PIECE, size - start)), np.uint8)
            values = data.view(dtype)
        else:
            raise ValueError
        values.flags.writeable = False
        shaped: np.ndarray | np.generic | bytes = values.reshape(shape)[()]  # a scalar or a text if it has no shape
        return shaped

    def read_length(self) -> int:
        """Read the length in bytes of the next piece that the HDF5 child process sends. Raises Refused on a failure."""
        length = int.from_bytes(self.read_exactly(8), "little")
        if length == FAILED:
            raise Refused(self.read_exactly(min(self.read_length(), MOST_SAID)).decode(errors="replace"))
        return length

    def read_counted(self, count: int, path: str) -> bytes:
        self.count_bytes(count, path)
        return self.read_exactly(count)

    def read_exactly(self, count: int) -> bytes:
        if len(data := self.child.read(count)) < count:
            raise EOFError
        return data

    def count_bytes(self, count: int, path: str) -> None:
        self.byte_count += count
        if self.byte_count > self.most_bytes:
            raise self.refuse(path, f"makes it more than {self.most_bytes} bytes of data, of a file of this size")

    def count_objects(self, objects: int, path: str) -> None:
        self.object_count += objects
        if self.object_count > MOST_OBJECTS:
            raise self.refuse(path, f"makes it more than {MOST_OBJECTS} objects and texts")

    @staticmethod
    def refuse(path: str, reason: str) -> Refused:
        return Refused(f"/{path[-200:]} {reason}")
