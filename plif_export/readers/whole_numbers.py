"""Whole numbers of a module's own that say how many steps there are, or how many streams: range(self.T), view(batch_size, -1).

A number is set for a run and put back after it. One that says how many streams there are follows the input of every call.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

_FOLLOWS = "_plif_streams"  # where a module keeps the number that is its batch


@dataclass(frozen=True)
class Number:
    """An attribute of a part, a default of forward, a global, or a variable of the function that the class stands in."""

    path: str
    name: str
    where: str  # "attribute", "argument", "global" or "enclosing"

    def set(self, module: nn.Module, value: int) -> dict[str, int]:
        """Sets it in a copy; returns keywords for forward. What lies outside of the module is set by the caller (`during`)."""
        if self.where == "attribute":
            setattr(module.get_submodule(self.path), self.name, value)
        return {self.name: value} if self.where == "argument" else {}

    @contextmanager
    def during(self, module: nn.Module, value: int) -> Iterator[None]:
        if self.where not in ("global", "enclosing"):
            yield
            return
        before = self.value(module)
        self._put(module, value)
        try:
            yield
        finally:
            self._put(module, before)

    def _put(self, module: nn.Module, value: int) -> None:
        if self.where == "global":
            self._forward(module).__globals__[self.name] = value
        else:
            self._cell(module).cell_contents = value

    def _forward(self, module: nn.Module) -> Any:
        return inspect.unwrap(type(module.get_submodule(self.path)).forward)

    def _cell(self, module: nn.Module) -> Any:
        forward = self._forward(module)
        return dict(zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=False))[self.name]

    def value(self, module: nn.Module) -> int:
        if self.where == "attribute":
            return int(getattr(module.get_submodule(self.path), self.name))
        if self.where == "global":
            return int(self._forward(module).__globals__[self.name])
        if self.where == "enclosing":
            return int(self._cell(module).cell_contents)
        return int(inspect.signature(module.get_submodule(self.path).forward).parameters[self.name].default)


def numbers(module: nn.Module) -> Iterator[Number]:
    """Those that a module's own code reads."""
    for path, part in module.named_modules():
        if (path and not list(part.children())) or type(part).__module__.startswith("torch.nn"):
            continue
        read = {name for f in vars(type(part)).values() if callable(f) for name in _names_in(f)}
        for name, value in vars(part).items():
            if type(value) is int and name in read and 0 < value < 4096:
                yield Number(path, name, "attribute")
        forward = inspect.unwrap(type(part).forward)
        for p in inspect.signature(forward).parameters.values() if not path else ():
            if type(p.default) is int and p.default > 0:
                yield Number(path, p.name, "argument")
        code = getattr(forward, "__code__", None)
        for name in code.co_names if code is not None else ():
            if type(forward.__globals__.get(name)) is int and 0 < forward.__globals__[name] < 4096:
                yield Number(path, name, "global")
        for name, cell in zip(code.co_freevars if code is not None else (), forward.__closure__ or (), strict=False):
            if name != "__class__" and type(cell.cell_contents) is int and 0 < cell.cell_contents < 4096:
                yield Number(path, name, "enclosing")


def _names_in(function: Any) -> tuple[str, ...]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return () if code is None or function.__name__ == "__init__" else code.co_names


def mark_streams(module: nn.Module, number: Number, axis: int) -> nn.Module:
    """Notes, in a copy, that a number is the size of its input's axis. `follow_streams` makes it so, in a copy of that."""
    vars(module)[_FOLLOWS] = number, axis
    return module


def has_streams(module: nn.Module) -> bool:
    return _FOLLOWS in vars(module)


def follow_streams(module: nn.Module) -> None:
    """Lets a noted number follow the input of every call."""
    if not has_streams(module):
        return
    number, axis = vars(module)[_FOLLOWS]
    own = module.forward

    @functools.wraps(own)
    def forward(x: Tensor, *args: Any, **words: Any) -> Any:
        with number.during(module, x.shape[axis]):
            return own(x, *args, **{**number.set(module, x.shape[axis]), **words})

    object.__setattr__(module, "forward", forward)
