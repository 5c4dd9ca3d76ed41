"""What torch.save wrote, without torch: the zip's index, read with an unpickler that admits plain values and tensors.

A pickle is a program that may call anything. The unpickler here knows the opcodes that torch.save writes and the names that
rebuild a tensor, and puts a stand-in in the place of each; only OrderedDict is real. Any other name ends the reading. What
a tensor claims is compared with what the zip holds. So torch.load may open what `read_index` has read: nothing in it is
larger than the file, and it ends.
"""

from __future__ import annotations

import io
import math
import pickle
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple

from runtime.base.errors import PlifError
from runtime.base.files import open_regular
from runtime.model.readers.stored_zip import Member, NotPlain, read_members

EXPECTED = "a model.pt written by plif_train.save"
_MOST_PICKLE = 4 << 20  # bytes: names, shapes and the card; weights live in other members of the zip

_BYTES = {  # of one number of each kind of storage
    **{f"{kind}Storage": 1 for kind in ("Bool", "Byte", "Char")},
    **{f"{kind}Storage": 2 for kind in ("Half", "BFloat16", "Short")},
    **{f"{kind}Storage": 4 for kind in ("Float", "Int")},
    **{f"{kind}Storage": 8 for kind in ("Double", "Long")},
}
_OPCODES = (
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND"),
    *("APPENDS", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE"),
    *("BUILD", "BINPERSID"),
)


class HoldsCode(PlifError):
    """The file names a function or a class that is not needed for tensors."""

    def __init__(self, path: str | Path, name: str, expected: str = EXPECTED) -> None:
        super().__init__(f"{path}: contains code ({name}), which is never run; expected {expected}")
        self.name = name


class _Refused(Exception):
    """The pickle names something that is not a tensor."""


class StandIn(NamedTuple):
    """In the place of a tensor, whose numbers are not read."""

    shape: tuple[int, ...]


class _Storage(NamedTuple):
    numbers: int


# The one in Python: the one in C makes room for any number of values that a file claims.
_Unpickler: Any = pickle._Unpickler


class _Plain(_Unpickler):  # type: ignore[misc]
    """Loads an index, and compares with the zip what it says of tensors. root: the folder in the zip."""

    dispatch: ClassVar = {op[0]: _Unpickler.dispatch[op[0]] for op in (getattr(pickle, name) for name in _OPCODES)}

    def __init__(self, index: bytes, root: str, members: dict[str, Member]) -> None:
        super().__init__(io.BytesIO(index))
        self.root, self.members = root, members

    def find_class(self, module: str, name: str) -> Any:
        found = _ADMITTED.get((module, name))
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        what, kind, key, _, numbers = pid
        if [type(part) for part in pid[:3]] != [str, int, str] or type(numbers) is not int or what != "storage":
            raise ValueError
        if numbers * kind != self.members[f"{self.root}/data/{key}"].size:
            raise ValueError
        return _Storage(numbers)

    def load_build(self) -> None:
        state = self.stack.pop()  # attributes of a state_dict: versions of modules, which nobody needs
        if type(self.stack[-1]) is not OrderedDict or type(state) is not dict:
            raise ValueError

    def load_setitem(self) -> None:
        _check_keys(self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_keys(self.stack[0::2])
        super().load_setitems()

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _check_keys(keys: list[object]) -> None:
    # To hash a tuple of the same tuple twice, 60 of them deep, takes for ever.
    if not all(type(key) in (str, int) for key in keys):
        raise ValueError


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: object) -> StandIn:
    numbers = [offset, *shape, *stride]
    if len(shape) != len(stride) or len(shape) > 64 or any(type(n) is not int or n < 0 for n in numbers):
        raise ValueError
    last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    # A stride of zero makes one number a tensor of any size.
    if math.prod(shape) > storage.numbers or (0 not in shape and last >= storage.numbers):
        raise ValueError
    return StandIn(shape)


_ADMITTED: dict[tuple[str, str], Any] = {
    **{("torch", name): size for name, size in _BYTES.items()},
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("collections", "OrderedDict"): lambda: OrderedDict(),
}


def read_card_text(path: str | Path) -> str:
    """The JSON text of the card in a model.pt. Runs no code of the file. Raises PlifError for any other file."""
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        content = read_index(file, path)
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a PyTorch file without a plif card; expected {EXPECTED}")
    return str(content["card"])


def read_index(file: BinaryIO, path: str | Path, expected: str = EXPECTED) -> Any:
    """What torch.save wrote, with a StandIn for each tensor; the file is left at its start. Runs no code of the file.

    Raises HoldsCode where it has some, and PlifError for a file that torch.save did not write.
    """
    if file.read(1) == b"\x80":
        raise HoldsCode(path, "a bare pickle, as PyTorch before 1.6 wrote them", expected)
    try:
        index, root, members = _find_index(file)
    except NotPlain as found:
        raise PlifError(f"{path}: cannot be opened as a file of torch.save ({found}); expected {expected}") from None
    try:
        return _Plain(index, root, members).load()
    except _Refused as refused:
        raise HoldsCode(path, str(refused), expected) from None
    except Exception:  # a damaged pickle fails in many ways, all of them mean the same
        raise PlifError(
            f"{path}: its index cannot be read: damaged, or not only tensors; expected {expected}"
        ) from None
    finally:
        file.seek(0)


def _find_index(file: BinaryIO) -> tuple[bytes, str, dict[str, Member]]:
    size = file.seek(0, io.SEEK_END)
    members = read_members(file, size)
    names = [name for name in members if name.endswith("/data.pkl")]
    if len(names) != 1 or names[0].count("/") != 1:
        raise NotPlain("it has no index of its own")
    index = members[names[0]]
    if index.size > _MOST_PICKLE:
        raise NotPlain(f"its index claims {index.size} bytes; expected under {_MOST_PICKLE}")
    file.seek(index.start)
    data = file.read(index.size)
    if zlib.crc32(data) != index.crc:
        raise NotPlain("its index was damaged")
    return data, names[0].partition("/")[0], members
