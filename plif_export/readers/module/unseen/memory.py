"""Which tensors a module holds, and where tensors lie in memory: so one is found out that no recorded operation made, as
nn.Parameter(t) and w.data = t are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils.weak import WeakTensorKeyDictionary

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


class Memory:
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
        """Notes that all of a tensor's memory was written anew, with values that do not depend on the input."""
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
