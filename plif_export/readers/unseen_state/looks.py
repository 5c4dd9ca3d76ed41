"""What no trace sees of a module that runs: Python or NumPy that looks at a value, and tensors that no operation made.

Looks refuses the first. TensorMemory knows where tensors lie, by which nn.Parameter(t) and w.data = t are found out.
"""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import CodeType, FrameType
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from plif_export.core.readers.rules import Unsupported

# Ways of a tensor to give its values to something that is no tensor, under their names in Python.
LEAVES = {
    *("numpy", "tolist", "item", "data_ptr", "storage", "untyped_storage", "_typed_storage", "is_nonzero"),
    *("__array__", "__float__", "__int__", "__bool__", "__index__", "__complex__", "__contains__", "__dlpack__"),
    *("__reduce_ex__", "__repr__", "__format__"),
}
WRITES = {"apply_", "map_", "map2_"}  # values that a Python function returns, into a tensor
PLAIN = ("builtins", "numpy", "array", "torch")  # packages whose objects say only what they hold
_OURS = str(Path(__file__).parents[2])
_STANDARD = sysconfig.get_paths()["stdlib"]
_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(np.__file__).parent))


def is_own(code: CodeType) -> bool:
    """Whether a code is the module's own, or of a library of its layers: not of torch, NumPy, Python or this package."""
    file = code.co_filename
    standard = file.startswith(_STANDARD) and "-packages" not in file
    return not standard and not file.startswith((_OURS, *_LIBRARIES, "<"))


def place(frame: FrameType | None = None) -> str:
    """The innermost line of the module's own code: "forward line 41 of model.py"; "in forward" where only torch runs."""
    frame = frame or sys._getframe(1)
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if file.startswith(_OURS) and code.co_name == "call":  # forms.py, which calls forward
            break
        if is_own(code):
            return f"{code.co_name} line {frame.f_lineno} of {Path(file).name}"
        frame = frame.f_back
    return "in forward"


@contextmanager
def profiled(profile: Callable[..., object]) -> Iterator[None]:
    """Calls `profile` at every call and return (sys.setprofile); whoever profiled before does so again afterwards."""
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


def refuse_look(name: str) -> None:
    """Raises Unsupported for a function that looks at a value which depends on the input."""
    how = {"bool": "if", "is_nonzero": "if", "_local_scalar_dense": "item"}.get(name.strip("_"), name.strip("_"))
    raise Unsupported(f"its Python looks at values of tensors ({how}, {place()})", "use torch.where")


class Looks(TorchFunctionMode):
    """Refuses what leaves torch, and what comes back. moves: whether a tensor [...] depends on the input."""

    def __init__(self, moves: Callable[[Tensor], bool]) -> None:
        super().__init__()
        self.moves = moves
        self.constants = 0  # how many tensors were found that no operation made

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:  # fmt: skip
        name = getattr(func, "__name__", "")
        if name == "__deepcopy__" and isinstance(args[0], Tensor):
            return args[0].clone()
        if name in WRITES:
            raise Unsupported(f"its Python writes into tensors ({name}, {place()})", "use torch.where")
        if name in LEAVES and any(isinstance(each, Tensor) and self.moves(each) for each in args):
            refuse_look(name)
        before = self.constants
        out = func(*args, **(kwargs or {}))
        if self.constants > before and isinstance(out, Tensor) and not self.moves(out):
            self._refuse_values(name, (*args, *(kwargs or {}).values()))
        return out

    def _refuse_values(self, name: str, given: Sequence[object]) -> None:
        """Refuses a function that makes a constant of values: of tensors in a list, or of what an own object says."""
        for each in (each for value in given if not isinstance(value, Tensor) for each in tree_leaves(value)):
            package = type(each).__module__.partition(".")[0]
            foreign = package not in PLAIN and not isinstance(each, int | float | complex | str)
            if foreign or (isinstance(each, Tensor) and self.moves(each)):
                raise Unsupported(f"it makes a tensor of values of others ({name}, {place()})", "use torch.stack")


# --- memory ---------------------------------------------------------------------------------------------------------------

Place: TypeAlias = "tuple[int, torch.Size, tuple[int, ...]]"  # address, shape, strides


def stored_tensors(module: nn.Module) -> Iterator[tuple[str, Callable[[Tensor], None] | None, Tensor]]:
    """(name, what puts another in its place, tensor [...]) of every tensor that a module and its parts hold, in lists and the
    like too; None of a tuple, in which nothing can be put."""

    def inside(value: object, name: str, depth: int) -> Iterator[tuple[str, Callable[[Tensor], None] | None, Tensor]]:
        if isinstance(value, dict | list | tuple):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, each in list(pairs):
                if isinstance(each, Tensor):
                    put = None if isinstance(value, tuple) else partial(value.__setitem__, key)
                    yield f"{name}.{key}", put, each
                elif depth and key not in ("_modules", "_memories", "_parameters", "_buffers"):
                    yield from inside(each, f"{name}.{key}", depth - 1)

    for path, part in module.named_modules():
        for store in (part._parameters, part._buffers, vars(part), vars(part).get("_memories", {})):
            yield from inside(store, path, 2)


class TensorMemory:
    """The places of tensors, and which memory holds values that depend on the input, as long as it does."""

    def __init__(self) -> None:
        self.places: MutableMapping[Tensor, Place] = WeakTensorKeyDictionary()
        self.moving: dict[int, StorageWeakRef] = {}

    def note(self, tensor: Tensor, moves: bool) -> None:
        """Notes where a tensor [...] is, and that its memory holds values that depend on the input."""
        if tensor.layout is torch.strided:
            with torch._C.DisableTorchFunction():
                self.places[tensor] = _place(tensor)
                if moves:
                    storage = tensor.untyped_storage()
                    self.moving[storage.data_ptr()] = StorageWeakRef(storage)

    def rests(self, tensor: Tensor) -> None:
        """Notes that all of the memory of a tensor [...] was written anew, with values that do not depend on the input."""
        with torch._C.DisableTorchFunction():
            self.moving.pop(tensor.untyped_storage().data_ptr(), None)

    def moves(self, tensor: Tensor) -> bool:
        """Whether the memory of a tensor [...] holds values that depend on the input."""
        if tensor.layout is not torch.strided:
            return False
        with torch._C.DisableTorchFunction():
            held = self.moving.get(tensor.untyped_storage().data_ptr())
        return held is not None and not held.expired()  # else it was freed, and used again

    def elsewhere(self, tensor: Tensor) -> bool:
        """Whether a tensor [...] is in another place than it was noted in."""
        place = self.places.get(tensor)
        with torch._C.DisableTorchFunction():
            return place is not None and place != _place(tensor)

    def clear(self) -> None:
        self.places.clear()
        self.moving.clear()


def _place(tensor: Tensor) -> Place:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
