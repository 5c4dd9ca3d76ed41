"""Guards against Python or NumPy code that reads values of tensors, and a record of the memory of tensors.

HostAccessGuard refuses values that leave torch, and values that come back. TensorMemory knows the addresses of
tensors. They show tensors that no operation made, such as nn.Parameter(t) and w.data = t.
"""

from __future__ import annotations

import math
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
from plif_export.readers.unseen_state.codes import find_passing_value, stores_unread

# Methods of a tensor that hand its values to Python or NumPy.
HOST_READS = {
    *("numpy", "tolist", "item", "data_ptr", "storage", "untyped_storage", "_typed_storage", "is_nonzero"),
    *("__array__", "__float__", "__int__", "__bool__", "__index__", "__complex__", "__contains__", "__dlpack__"),
    *("__reduce_ex__", "__repr__", "__format__"),
}
HOST_WRITES = {"apply_", "map_", "map2_"}  # methods that write values of a Python function into a tensor
VALUE_PACKAGES = ("builtins", "numpy", "array", "torch")  # packages with objects that only hold values
_OURS = str(Path(__file__).parents[2])
_STANDARD = sysconfig.get_paths()["stdlib"]
_LIBRARIES = (str(Path(torch.__file__).parent), str(Path(np.__file__).parent))


def is_user_code(code: CodeType) -> bool:
    """Return whether a code object is user code: not of torch, NumPy, Python or this package.

    Libraries with layers of the user's network count as user code.
    """
    file = code.co_filename
    standard = file.startswith(_STANDARD) and "-packages" not in file
    return not standard and not file.startswith((_OURS, *_LIBRARIES, "<"))


def find_source_line(frame: FrameType | None = None) -> str:
    """Return the innermost line of user code on the call stack, in the form "forward line 41 of model.py".

    Returns "in forward" if only torch runs.
    """
    frame = frame or sys._getframe(1)
    while frame is not None:
        code, file = frame.f_code, frame.f_code.co_filename
        if file.startswith(_OURS) and code.co_name == "call":  # forms.py, which calls forward
            break
        if is_user_code(code):
            return f"{code.co_name} line {frame.f_lineno} of {Path(file).name}"
        frame = frame.f_back
    return "in forward"


@contextmanager
def profile_calls(profile: Callable[..., object]) -> Iterator[None]:
    """Call a profile function at every Python call and return in a with-block, then restore the old one."""
    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        yield
    finally:
        sys.setprofile(before)


def refuse_host_read(name: str) -> None:
    """Refuse a PyTorch function that gives Python code the values of a tensor that depends on the input."""
    operation = {"bool": "if", "is_nonzero": "if", "_local_scalar_dense": "item"}.get(name.strip("_"), name.strip("_"))
    raise Unsupported(f"its Python looks at values of tensors ({operation}, {find_source_line()})", "use torch.where")


class HostAccessGuard(TorchFunctionMode):
    """A torch function mode that refuses reads of tensor values by Python or NumPy code in a module.

    depends_on_input: whether a tensor [...] depends on the input. codes: all code that the module may run.
    """

    def __init__(self, depends_on_input: Callable[[Tensor], bool], codes: Sequence[CodeType] = ()) -> None:
        super().__init__()
        self.depends_on_input = depends_on_input
        self.codes, self.notes = codes, dict[str, None]()  # notes: what a recording did not try
        self.constants = 0  # tensors met so far that no operation made
        self.running: list[tuple[object, ...]] = []  # the arguments of the functions of torch that run, innermost last

    def __torch_function__(
        self, func: Callable[..., object], types: object, args: Sequence[object] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:  # fmt: skip
        name = getattr(func, "__name__", "")
        if name == "__deepcopy__" and isinstance(args[0], Tensor):
            return args[0].clone()
        if name in HOST_WRITES:
            raise Unsupported(f"its Python writes into tensors ({name}, {find_source_line()})", "use torch.where")
        if name in HOST_READS and any(
            isinstance(argument, Tensor) and self.depends_on_input(argument) for argument in args
        ):
            return self._answer_host_read(name, sys._getframe(1))
        before = self.constants
        self.running.append((*args, *(kwargs or {}).values()))
        try:
            out = func(*args, **(kwargs or {}))
        finally:
            self.running.pop()
        if self.constants > before and isinstance(out, Tensor) and not self.depends_on_input(out):
            self._refuse_values(name, (*args, *(kwargs or {}).values()))
        return out

    def _answer_host_read(self, name: str, frame: FrameType) -> object:
        """Answer a read of values that depend on the input if nothing depends on the answer; refuse all others.

        An assert passes. A number that goes to an attribute which no code reads is not a number (NaN).
        """
        passing = find_passing_value(frame) if name == "__bool__" else None
        if passing is not None:
            self.notes[f"values for which it raises an error ({find_source_line(frame)})"] = None
            return passing
        if name not in ("__float__", "item") or not stores_unread(frame, self.codes):
            refuse_host_read(name)
        return math.nan

    def is_inside(self, tensor: Tensor) -> bool:
        """Return whether a function of torch that runs made a tensor [...] itself, of the numbers that it was given."""
        given = (leaf for arguments in self.running for value in arguments for leaf in tree_leaves(value))
        return bool(self.running) and all(leaf is not tensor for leaf in given)

    def _refuse_values(self, name: str, arguments: Sequence[object]) -> None:
        """Refuse a function that makes a constant tensor from tensors in a list, or from a custom object."""
        for leaf in (leaf for value in arguments if not isinstance(value, Tensor) for leaf in tree_leaves(value)):
            package = type(leaf).__module__.partition(".")[0]
            foreign = package not in VALUE_PACKAGES and not isinstance(leaf, int | float | complex | str)
            if foreign or (isinstance(leaf, Tensor) and self.depends_on_input(leaf)):
                raise Unsupported(
                    f"it makes a tensor of values of others ({name}, {find_source_line()})", "use torch.stack"
                )


# --- memory ---------------------------------------------------------------------------------------------------------------

MemoryPlace: TypeAlias = "tuple[int, torch.Size, tuple[int, ...]]"  # address, shape, strides


def iter_module_tensors(module: nn.Module) -> Iterator[tuple[str, Callable[[Tensor], None] | None, Tensor]]:
    """Yield each tensor in a module and its submodules, in lists and dicts too: (name, setter, tensor).

    tensor: [...]. setter: replaces the tensor in its place; None for a tensor in a tuple, which cannot be changed.
    """

    def inside(value: object, name: str, depth: int) -> Iterator[tuple[str, Callable[[Tensor], None] | None, Tensor]]:
        if isinstance(value, dict | list | tuple):
            pairs = value.items() if isinstance(value, dict) else enumerate(value)
            for key, element in list(pairs):
                if isinstance(element, Tensor):
                    put = None if isinstance(value, tuple) else partial(value.__setitem__, key)
                    yield f"{name}.{key}", put, element
                elif depth and key not in ("_modules", "_memories", "_parameters", "_buffers"):
                    yield from inside(element, f"{name}.{key}", depth - 1)

    for path, part in module.named_modules():
        for store in (part._parameters, part._buffers, vars(part), vars(part).get("_memories", {})):
            yield from inside(store, path, 2)


class TensorMemory:
    """A record of the memory addresses of tensors, and of the memory whose values depend on the input."""

    def __init__(self) -> None:
        self.places: MutableMapping[Tensor, MemoryPlace] = WeakTensorKeyDictionary()
        self.recorded_storages: dict[int, StorageWeakRef] = {}  # of all recorded tensors, by address
        self.dynamic_storages: dict[int, StorageWeakRef] = {}
        self.constants: dict[MemoryPlace, tuple[object, StorageWeakRef]] = {}  # constants by their places
        self.known: set[int] = set()  # addresses of memory that was there before the run, or that operations made
        self.kept: list[object] = []  # what holds that memory, so that no other tensor gets its address

    def add_known(self, value: Tensor | np.ndarray) -> None:
        """Record that the memory of a tensor or array [...] is known: it was there before the module ran."""
        if isinstance(value, np.ndarray):
            while isinstance(value.base, np.ndarray):
                value = value.base
            self.known.add(value.ctypes.data)
        elif value.layout is torch.strided:
            with torch._C.DisableTorchFunction():
                self.known.add(value.untyped_storage().data_ptr())
        self.kept.append(value)

    def is_known(self, tensor: Tensor) -> bool:
        """Return whether the memory of a tensor [...] was there before the run, or is that of a recorded tensor."""
        with torch._C.DisableTorchFunction():
            if tensor.layout is not torch.strided or not tensor.numel():
                return True
            address = tensor.untyped_storage().data_ptr()
        recorded = self.recorded_storages.get(address)
        return address in self.known or (recorded is not None and not recorded.expired())

    def record_address(self, tensor: Tensor, dynamic: bool, node: object = None) -> None:
        """Record the memory address of a tensor [...], and whether the values there depend on the input.

        node: what stands for a tensor that does not.
        """
        if tensor.layout is torch.strided:
            with torch._C.DisableTorchFunction():
                self.places[tensor] = _memory_place(tensor)
                storage = tensor.untyped_storage()
                reference = self.recorded_storages.get(storage.data_ptr())
                if reference is None or reference.expired():
                    reference = self.recorded_storages[storage.data_ptr()] = StorageWeakRef(storage)
                self.constants.pop(self.places[tensor], None)
                if dynamic:
                    self.dynamic_storages[storage.data_ptr()] = reference
                elif node is not None:
                    self.constants[self.places[tensor]] = node, reference

    def find_constant(self, tensor: Tensor) -> object:
        """Return what stands for the constant whose memory a tensor [...] got, by `.data =`; None if it is unknown."""
        with torch._C.DisableTorchFunction():
            node, storage = self.constants.get(_memory_place(tensor), (None, None))
        return node if storage is not None and not storage.expired() else None

    def clear_dynamic(self, tensor: Tensor) -> None:
        """Record that values which do not depend on the input were written to the memory of a tensor [...]."""
        with torch._C.DisableTorchFunction():
            self.dynamic_storages.pop(tensor.untyped_storage().data_ptr(), None)

    def is_dynamic(self, tensor: Tensor) -> bool:
        """Return whether the memory of a tensor [...] holds values that depend on the input."""
        if tensor.layout is not torch.strided:
            return False
        with torch._C.DisableTorchFunction():
            storage = self.dynamic_storages.get(tensor.untyped_storage().data_ptr())
        return storage is not None and not storage.expired()  # else it was freed, and used again

    def has_moved(self, tensor: Tensor) -> bool:
        """Return whether a tensor [...] has another memory address, shape or strides than were recorded."""
        recorded = self.places.get(tensor)
        with torch._C.DisableTorchFunction():
            return recorded is not None and recorded != _memory_place(tensor)

    def clear(self) -> None:
        self.places.clear()
        self.recorded_storages.clear()
        self.constants.clear()
        self.known.clear()
        self.kept.clear()
        self.dynamic_storages.clear()


def _memory_place(tensor: Tensor) -> MemoryPlace:
    return tensor.data_ptr(), tensor.shape, tensor.stride()
