"""Reads files of torch.save without torch: an unpickler that admits plain values and tensors reads the index.

A pickle is a program that may call anything. The unpickler here knows the opcodes that torch.save writes and the
names that rebuild a tensor; only OrderedDict is real. Any other name ends the reading. The claims of a tensor are
compared with the contents of the zip before it is built. So no object is larger than the file, and neither the zip
reader nor the unpickler of PyTorch reads it.
"""

from __future__ import annotations

import io
import math
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol

from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular
from runtime.core.model.readers.stored_zip import StoredZip, UnsupportedZip

EXPECTED = "a model.pt written by plif_train.save"
_MAX_PICKLE = 4 << 20  # bytes: names, shapes and the card; weights live in other members of the zip

_BYTES = {  # bytes of one number of each kind
    **dict.fromkeys(("Bool", "Byte", "Char"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long"), 8),
}
_OPCODES = (
    *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPEND"),
    *("APPENDS", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "GLOBAL", "REDUCE"),
    *("BUILD", "BINPERSID"),
)


class EmbeddedCode(PlifError):
    """The error for a PyTorch file that names a function or class that tensors do not need."""

    def __init__(self, path: str | Path, name: str, expected: str = EXPECTED) -> None:
        super().__init__(f"{path}: contains code ({name}), which is never run; expected {expected}")
        self.name = name


class _NotATensor(Exception):
    """The error for a pickle that names an object other than a tensor."""


class Storage(NamedTuple):
    """The numbers of a tensor in a PyTorch file, which several tensors may share.

    kind     the type of a number, as PyTorch names it ("Float")
    archive  the zip; its `read` reads the bytes
    """

    name: str
    kind: str
    numbers: int
    archive: StoredZip


class TensorFactory(Protocol):
    """The functions that create tensors and parameters from a torch.save file; offset, stride count elements."""

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool
    ) -> object: ...

    def parameter(self, tensor: object, requires_grad: bool) -> object: ...


class _StorageType(NamedTuple):
    name: str


# The Python version: the C version allocates any number of values that a file claims.
_Unpickler: Any = pickle._Unpickler


class _TensorUnpickler(_Unpickler):  # type: ignore[misc]
    """The unpickler of a torch.save index; it compares each tensor with the zip. root: the folder in the zip."""

    dispatch: ClassVar = {op[0]: _Unpickler.dispatch[op[0]] for op in (getattr(pickle, name) for name in _OPCODES)}

    def __init__(self, index: bytes, root: str, archive: StoredZip, make: TensorFactory | None) -> None:
        super().__init__(io.BytesIO(index))
        self.root, self.archive, self.make = root, archive, make
        self.admitted: dict[tuple[str, str], Any] = {
            **{("torch", f"{kind}Storage"): _StorageType(kind) for kind in _BYTES},
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch._utils", "_rebuild_parameter"): self.parameter,
            ("collections", "OrderedDict"): lambda: OrderedDict(),
        }

    def find_class(self, module: str, name: str) -> Any:
        target = self.admitted.get((module, name))
        if target is None:
            raise _NotATensor(f"{module}.{name}")
        return target

    def persistent_load(self, pid: Any) -> Storage:
        _, kind, key, _, numbers = pid
        if type(key) is not str:  # the text of a tuple of the same tuple twice, 60 of them deep, takes for ever
            raise ValueError
        name = f"{self.root}/data/{key}"
        if type(numbers) is not int or numbers * _BYTES[kind.name] != self.archive.members[name].size:
            raise ValueError
        return Storage(name, kind.name, numbers, self.archive)

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], grad: bool, *extra: object
    ) -> object:
        if type(storage) is not Storage or type(grad) is not bool or any(extra):
            raise ValueError  # further arguments are hooks, or a bit that negates all numbers
        numbers = [offset, *shape, *stride]
        if len(shape) != len(stride) or len(shape) > 64 or any(type(n) is not int or n < 0 for n in numbers):
            raise ValueError
        last = offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        # A stride of zero makes one number a tensor of any size.
        if math.prod(shape) > storage.numbers or (0 not in shape and last >= storage.numbers):
            raise ValueError
        return self.make and self.make.tensor(storage, offset, shape, stride, grad)

    def parameter(self, tensor: object, grad: bool, *_: object) -> object:
        return self.make and self.make.parameter(tensor, grad)

    def load_build(self) -> None:
        self.stack.pop()  # attributes of a state_dict: versions of modules, which are unused

    def load_setitem(self) -> None:
        _check_items(self.stack[-3], self.stack[-2:-1])
        super().load_setitem()

    def load_setitems(self) -> None:
        _check_items(self.metastack[-1][-1], self.stack[0::2])
        super().load_setitems()

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems


def _check_items(into: object, keys: list[object]) -> None:
    # To hash a tuple of the same tuple twice, 60 of them deep, takes for ever.
    if type(into) not in (dict, OrderedDict) or not all(type(key) in (str, int) for key in keys):
        raise ValueError


def read_card_text(path: str | Path) -> str:
    """Read the JSON text of the card in a model.pt without running its code. Raises PlifError for other files."""
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        content = read_index(file, path)
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a PyTorch file without a plif card; expected {EXPECTED}")
    return str(content["card"])


def read_index(file: BinaryIO, path: str | Path, expected: str = EXPECTED, make: TensorFactory | None = None) -> Any:
    """Read the object that torch.save wrote into a file, without running code from the file.

    make  builds each tensor; every part of the file is then read and its CRC-32 checked. None: only the index
          is read
    Raises EmbeddedCode for a file with code, and PlifError for a file that torch.save did not write.
    """
    if file.read(1) == b"\x80":
        raise EmbeddedCode(path, "a bare pickle, as PyTorch before 1.6 wrote them", expected)
    try:
        archive = StoredZip(file)
        root, index = _find_index(archive)
        content = _TensorUnpickler(index, root, archive, make).load()
        if make is not None:
            archive.check_unread()
        return content
    except UnsupportedZip as reason:
        raise PlifError(f"{path}: is not a valid torch.save file ({reason}); expected {expected}") from None
    except _NotATensor as refused:
        raise EmbeddedCode(path, str(refused), expected) from None
    except Exception:  # a damaged pickle fails in many ways, all of them mean the same
        raise PlifError(
            f"{path}: its index cannot be read: damaged, or not only tensors; expected {expected}"
        ) from None


def _find_index(archive: StoredZip) -> tuple[str, bytes]:
    names = [name for name in archive.members if name.endswith("/data.pkl")]
    if len(names) != 1 or names[0].count("/") != 1:
        raise UnsupportedZip("it has no index of its own")
    if (size := archive.members[names[0]].size) > _MAX_PICKLE:
        raise UnsupportedZip(f"its index claims {size} bytes; expected under {_MAX_PICKLE}")
    root = names[0].partition("/")[0]
    order = archive.read(f"{root}/byteorder")[:9] if f"{root}/byteorder" in archive.members else b"little"
    if order != b"little":
        raise UnsupportedZip(f"its byte order is {order!r}; expected little")
    return root, archive.read(names[0])
