"""What torch.save wrote, without torch: the zip's index, read with an unpickler that admits plain values and tensors.

A pickle is a program that may call anything. The unpickler here knows the opcodes that torch.save writes and the names that
rebuild a tensor; only OrderedDict is real. Any other name ends the reading. What a tensor claims is compared with what the
zip holds, and then it is built of that: so nothing is larger than the file, and neither the zip reader nor the unpickler of
PyTorch sees it.
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
from runtime.core.model.readers.stored_zip import NotPlain, Stored

EXPECTED = "a model.pt written by plif_train.save"
_MOST_PICKLE = 4 << 20  # bytes: names, shapes and the card; weights live in other members of the zip

_BYTES = {  # of one number of each kind
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


class HoldsCode(PlifError):
    """The file names a function or a class that is not needed for tensors."""

    def __init__(self, path: str | Path, name: str, expected: str = EXPECTED) -> None:
        super().__init__(f"{path}: contains code ({name}), which is never run; expected {expected}")
        self.name = name


class _Refused(Exception):
    """The pickle names something that is not a tensor."""


class Storage(NamedTuple):
    """Numbers of one kind, as PyTorch names it ("Float"), which may be shared by tensors; `read` of `within` reads its bytes."""

    name: str
    kind: str
    numbers: int
    within: Stored


class TensorMaker(Protocol):
    """What becomes of a tensor, whose numbers all lie in its storage; offset and stride count numbers."""

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], requires_grad: bool
    ) -> object: ...

    def parameter(self, tensor: object, requires_grad: bool) -> object: ...


class _Kind(NamedTuple):
    name: str


# The one in Python: the one in C makes room for any number of values that a file claims.
_Unpickler: Any = pickle._Unpickler


class _Plain(_Unpickler):  # type: ignore[misc]
    """Loads an index, and compares with the zip what it says of tensors. root: the folder in the zip."""

    dispatch: ClassVar = {op[0]: _Unpickler.dispatch[op[0]] for op in (getattr(pickle, name) for name in _OPCODES)}

    def __init__(self, index: bytes, root: str, within: Stored, make: TensorMaker | None) -> None:
        super().__init__(io.BytesIO(index))
        self.root, self.within, self.make = root, within, make
        self.admitted: dict[tuple[str, str], Any] = {
            **{("torch", f"{kind}Storage"): _Kind(kind) for kind in _BYTES},
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
            ("torch._utils", "_rebuild_parameter"): self.parameter,
            ("collections", "OrderedDict"): lambda: OrderedDict(),
        }

    def find_class(self, module: str, name: str) -> Any:
        found = self.admitted.get((module, name))
        if found is None:
            raise _Refused(f"{module}.{name}")
        return found

    def persistent_load(self, pid: Any) -> Storage:
        _, kind, key, _, numbers = pid
        if type(key) is not str:  # the text of a tuple of the same tuple twice, 60 of them deep, takes for ever
            raise ValueError
        name = f"{self.root}/data/{key}"
        if type(numbers) is not int or numbers * _BYTES[kind.name] != self.within.members[name].size:
            raise ValueError
        return Storage(name, kind.name, numbers, self.within)

    def tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], grad: bool, *more: object
    ) -> object:
        if type(storage) is not Storage or type(grad) is not bool or any(more):
            raise ValueError  # what is more are hooks, or a bit that says that all numbers are to be taken negative
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
        self.stack.pop()  # attributes of a state_dict: versions of modules, which nobody needs

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
    """The JSON text of the card in a model.pt. Runs no code of the file. Raises PlifError for any other file."""
    path = Path(path)
    with open_regular(path, EXPECTED) as file:
        content = read_index(file, path)
    if not isinstance(content, dict) or not isinstance(content.get("card"), str):
        raise PlifError(f"{path}: a PyTorch file without a plif card; expected {EXPECTED}")
    return str(content["card"])


def read_index(file: BinaryIO, path: str | Path, expected: str = EXPECTED, make: TensorMaker | None = None) -> Any:
    """What torch.save wrote, with what `make` makes of each tensor. Runs no code of the file.

    make  None: the tensors are not needed, and of the file only the index is read; else every part is, and its sum checked
    Raises HoldsCode where it has some, and PlifError for a file that torch.save did not write.
    """
    if file.read(1) == b"\x80":
        raise HoldsCode(path, "a bare pickle, as PyTorch before 1.6 wrote them", expected)
    try:
        within = Stored(file)
        root, index = _find_index(within)
        found = _Plain(index, root, within, make).load()
        if make is not None:
            within.check_rest()
        return found
    except NotPlain as reason:
        raise PlifError(f"{path}: cannot be opened as a file of torch.save ({reason}); expected {expected}") from None
    except _Refused as refused:
        raise HoldsCode(path, str(refused), expected) from None
    except Exception:  # a damaged pickle fails in many ways, all of them mean the same
        raise PlifError(
            f"{path}: its index cannot be read: damaged, or not only tensors; expected {expected}"
        ) from None


def _find_index(within: Stored) -> tuple[str, bytes]:
    names = [name for name in within.members if name.endswith("/data.pkl")]
    if len(names) != 1 or names[0].count("/") != 1:
        raise NotPlain("it has no index of its own")
    if (size := within.members[names[0]].size) > _MOST_PICKLE:
        raise NotPlain(f"its index claims {size} bytes; expected under {_MOST_PICKLE}")
    root = names[0].partition("/")[0]
    order = within.read(f"{root}/byteorder")[:9] if f"{root}/byteorder" in within.members else b"little"
    if order != b"little":
        raise NotPlain(f"its byte order is {order!r}; expected little")
    return root, within.read(names[0])
