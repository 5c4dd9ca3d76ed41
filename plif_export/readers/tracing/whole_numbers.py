"""Whole numbers of a module's own that say how many steps there are, or how many streams: range(self.T), view(batch_size, -1).

A number is set for a run and put back after it. One that says how many streams there are follows the input of every call; so
does one that says how a first axis of batch and time in one is taken apart (sinabs's IAFSqueeze): forward then takes both.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import CellType, FunctionType

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

# What public code calls the number of steps.
STEPS_NAMES = (
    *("T", "time_step", "time_steps", "timesteps", "num_steps", "n_steps"),
    *("time_window", "seq_length", "steps"),
)
FOLLOWS = "_plif_sizes"  # where a module keeps the numbers that are sizes of its input


@dataclass(frozen=True)
class Number:
    """An attribute of a part, a default of forward, a global, or a variable of the function that the class stands in.

    others  paths of further parts whose attribute of that name has that value: they are set with it
    """

    path: str
    name: str
    where: str  # "attribute", "argument", "global" or "enclosing"
    others: tuple[str, ...] = ()

    def set(self, module: nn.Module, value: int) -> dict[str, int]:
        """Sets it in a copy; returns keywords for forward. What lies outside of the module is set by the caller (`during`)."""
        for path in (self.path, *self.others) if self.where == "attribute" else ():
            setattr(module.get_submodule(path), self.name, value)
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

    def _forward(self, module: nn.Module) -> FunctionType:
        forward: FunctionType = inspect.unwrap(type(module.get_submodule(self.path)).forward)
        return forward

    def _cell(self, module: nn.Module) -> CellType:
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
    """Those that a module's own code reads: first those that several parts have alike."""
    alone: list[Number] = []
    alike: dict[tuple[str, int], list[str]] = {}
    for path, part in module.named_modules():
        if type(part).__module__.startswith("torch.nn"):
            continue
        read = {name for cls in _own(type(part)) for f in vars(cls).values() if callable(f) for name in _names_in(f)}
        for name, value in vars(part).items():
            if name in read and _small(value):
                alike.setdefault((name, value), []).append(path)
        if path and not list(part.children()):
            continue
        forward = inspect.unwrap(type(part).forward)
        for p in inspect.signature(forward).parameters.values() if not path else ():
            if type(p.default) is int and p.default > 0:
                alone.append(Number(path, p.name, "argument"))
        if not isinstance(forward, FunctionType):
            continue
        for name in forward.__code__.co_names:
            if _small(forward.__globals__.get(name)):
                alone.append(Number(path, name, "global"))
        for name, cell in zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=False):
            if name != "__class__" and _small(cell.cell_contents):
                alone.append(Number(path, name, "enclosing"))
    yield from (Number(paths[0], name, "attribute", tuple(paths[1:])) for (name, _), paths in alike.items())
    yield from alone
    yield from (Number(path, name, "attribute") for (name, _), paths in alike.items() for path in paths if paths[1:])


def _small(value: object) -> bool:
    return type(value) is int and 0 < value < 4096


def _own(kind: type) -> Iterator[type]:
    return (cls for cls in kind.__mro__ if not cls.__module__.startswith(("torch.", "builtins")))


def _names_in(function: Callable[..., object]) -> tuple[str, ...]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return () if code is None or function.__name__ == "__init__" else code.co_names


def mark_sizes(module: nn.Module, sizes: Mapping[int, Number], apart: bool = False) -> nn.Module:
    """Notes, in a copy, that numbers are the sizes of axes of its input. `follow_sizes` makes it so, in a copy of that.

    apart  forward has batch and time in one axis, and the copy is to have them in two
    """
    vars(module)[FOLLOWS] = dict(sizes), apart
    return module


def has_sizes(module: nn.Module) -> bool:
    return FOLLOWS in vars(module)


def follow_sizes(module: nn.Module) -> None:
    """Lets noted numbers follow the input of every call."""
    if not has_sizes(module):
        return
    sizes, apart = vars(module)[FOLLOWS]
    own = module.forward

    @functools.wraps(own)
    def forward(x: Tensor, *args: object, **words: object) -> object:
        first = x.shape[:2]
        with ExitStack() as stack:
            for axis, number in sizes.items():
                stack.enter_context(number.during(module, x.shape[axis]))
                words = {**number.set(module, x.shape[axis]), **words}
            if not apart:
                return own(x, *args, **words)
            out = own(x.flatten(0, 1), *args, **words)
        joined = first[0] * first[1]
        return tree_map_only(Tensor, lambda y: y.unflatten(0, first) if y.dim() and len(y) == joined else y, out)

    object.__setattr__(module, "forward", forward)
