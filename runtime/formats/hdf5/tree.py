"""HDF5 files of others: another process opens them (decode.py). What it says is checked here, for a file may have taken
it over, and it may say anything.

    numbers and texts   no other types
    MOST_OBJECTS        groups, data sets and texts, in no more than MOST_DEPTH groups
    bytes               of all together, as they are in memory: FREE_BYTES and MOST_TIMES the size of the file, at most MOST_BYTES
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

from runtime.core.base.errors import NONSENSE, MissingExtra, PlifError
from runtime.core.base.files import open_regular
from runtime.formats.child.children import Child

if TYPE_CHECKING:
    import numpy as np

DECODE = Path(__file__).with_name("decode.py")
TEXT, FAILED = "text", (1 << 64) - 1
MOST_OBJECTS, MOST_DEPTH = 20_000, 32
# How much more than the file the data may be: a parameter for each neuron, all of them equal, is compressed well.
FREE_BYTES, MOST_TIMES, MOST_BYTES = 64 << 20, 100, 4 << 30
MOST_HEADER = 1 << 20  # bytes of one record
MOST_SAID = 500  # characters
PIECE = 1 << 20
NUMBERS = re.compile(r"[<>|](b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|S[1-9]\d{0,8})")  # and texts of one length


class Refused(Exception):
    """Half a line: what in the file is not read."""


class Item(NamedTuple):
    """values: of a data set, as h5py reads it, not to be written to; a text is bytes; None of a group
    attributes: name -> its repr"""

    values: np.ndarray | np.generic | bytes | None
    attributes: dict[str, str]


Items = Mapping[str, Item]


def read_hdf5(path: str | Path, expected: str, extra: str = "hdf5") -> Items:
    """What is in an HDF5 file, by its path in it ("node/edges"), a group before what is in it.

    expected  for messages: what the file should be, such as "a NIR file"; extra: what brings h5py
    """
    if find_spec("h5py") is None:
        raise MissingExtra("reading an HDF5 file", extra)
    with open_regular(path, expected) as raw:
        about = os.fstat(raw.fileno())
        found = _read(raw.fileno(), (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns))
    if isinstance(found, str):
        raise PlifError(f"{path}: {found if found.startswith('/') else f'not {expected}, or damaged ({found})'}")
    return found


@lru_cache(maxsize=1)  # a model is opened several times: for its card, its layers, its weights
def _read(file: int, same: tuple[int, ...]) -> Items | str:
    """What is in an open file, or half a line: why it is not read. same: what tells it from its later versions."""
    size = os.fstat(file).st_size
    most = min(MOST_BYTES, FREE_BYTES + MOST_TIMES * size)
    os.lseek(file, 0, os.SEEK_SET)
    with Child(DECODE, str(2 * most), size=size, stdin=file) as child:
        try:
            return _Listener(child, most).read()
        except Refused as found:
            return str(found)
        except EOFError:
            code, reason = child.end()
            return reason or ("it makes the HDF5 library crash" if code < 0 else "it cannot be read")
        except NONSENSE:
            return "what was read of it is not what is read of such a file"


class _Listener:
    """Reads what the child writes. Raises Refused, EOFError where it ends too early, and others for what is no record."""

    def __init__(self, child: Child, most_bytes: int) -> None:
        self.child, self.most_bytes = child, most_bytes
        self.bytes = self.objects = 0

    def read(self) -> Items:
        items: dict[str, Item] = {}
        at = ""
        while (length := self.length()) > 0:
            if length > MOST_HEADER:
                raise ValueError
            said = json.loads(self.take(length, at))
            at, attributes = said["at"], said["attributes"]
            group = at.rpartition("/")[0]
            if at in items or (group and items[group].values is not None):
                raise ValueError
            if not all(type(text) is str for text in (at, *attributes.values())):
                raise ValueError
            self.count(1 + len(attributes), at)
            if at.count("/") > MOST_DEPTH:
                raise self.refuse(at, f"lies in more than {MOST_DEPTH} groups")
            items[at] = Item(self.values(said["dtype"], said["shape"], at) if "dtype" in said else None, attributes)
        return items

    def values(self, dtype: str, shape: list[int], at: str) -> np.ndarray | np.generic | bytes:
        import numpy as np

        if len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 63 for n in shape):
            raise ValueError
        count = math.prod(shape)
        if dtype == TEXT:
            self.count(count, at)
            values = np.empty(count, object)
            for i in range(count):
                values[i] = self.take(self.length(), at)
        elif NUMBERS.fullmatch(dtype):
            size = count * np.dtype(dtype).itemsize
            self.spend(size, at)
            if self.length() != size:
                raise ValueError
            data = np.empty(size, np.uint8)
            for start in range(0, size, PIECE):
                data[start : start + PIECE] = np.frombuffer(self.exactly(min(PIECE, size - start)), np.uint8)
            values = data.view(dtype)
        else:
            raise ValueError
        values.flags.writeable = False
        found: np.ndarray | np.generic | bytes = values.reshape(shape)[()]  # a number or a text where it has no shape
        return found

    def length(self) -> int:
        """Of the next piece."""
        length = int.from_bytes(self.exactly(8), "little")
        if length == FAILED:
            raise Refused(self.exactly(min(self.length(), MOST_SAID)).decode(errors="replace"))
        return length

    def take(self, count: int, at: str) -> bytes:
        self.spend(count, at)
        return self.exactly(count)

    def exactly(self, count: int) -> bytes:
        if len(data := self.child.read(count)) < count:
            raise EOFError
        return data

    def spend(self, count: int, at: str) -> None:
        self.bytes += count
        if self.bytes > self.most_bytes:
            raise self.refuse(at, f"makes it more than {self.most_bytes} bytes of data, of a file of this size")

    def count(self, objects: int, at: str) -> None:
        self.objects += objects
        if self.objects > MOST_OBJECTS:
            raise self.refuse(at, f"makes it more than {MOST_OBJECTS} objects and texts")

    @staticmethod
    def refuse(at: str, what: str) -> Refused:
        return Refused(f"/{at[-200:]} {what}")
