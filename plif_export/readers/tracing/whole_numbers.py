"""Integers in a module's own code that say the number of steps or streams: range(self.T), view(batch_size, -1).

Such a number is set for a run and restored after it. A number of streams follows the input of every call. So does a
number that splits a first axis of batch and time (sinabs's IAFSqueeze): forward then takes both axes.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import permutations
from types import CellType, FunctionType

from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

# Common names for the number of steps in public code.
STEPS_NAMES = (
    *("T", "time_step", "time_steps", "timesteps", "num_steps", "n_steps"),
    *("time_window", "seq_length", "steps"),
)
SIZES_KEY = "_plif_sizes"  # attribute of a module: the numbers that are sizes of its input


@dataclass(frozen=True)
class SizeNumber:
    """An integer in a module's code that may be a size of its input: the number of time-steps or the batch size.

    scope: "attribute", "argument" (a default of forward), "global", or "enclosing" (of the function that the class
    stands in). twins: paths of further parts with an attribute of the same name and value, which are set with it.
    """

    path: str
    name: str
    scope: str  # "attribute", "argument", "global" or "enclosing"
    twins: tuple[str, ...] = ()

    def set_value(self, module: nn.Module, value: int) -> dict[str, int]:
        """Set a size number, such as the batch size, in a module's code; return keyword arguments for its forward.

        A number outside of the module is set by the caller (`override`).
        """
        for path in (self.path, *self.twins) if self.scope == "attribute" else ():
            setattr(module.get_submodule(path), self.name, value)
        return {self.name: value} if self.scope == "argument" else {}

    @contextmanager
    def override(self, module: nn.Module, value: int) -> Iterator[None]:
        if self.scope not in ("global", "enclosing"):
            yield
            return
        before = self.read_value(module)
        self._assign_outside(module, value)
        try:
            yield
        finally:
            self._assign_outside(module, before)

    def _assign_outside(self, module: nn.Module, value: int) -> None:
        if self.scope == "global":
            self._find_forward(module).__globals__[self.name] = value
        else:
            self._find_cell(module).cell_contents = value

    def _find_forward(self, module: nn.Module) -> FunctionType:
        forward: FunctionType = inspect.unwrap(type(module.get_submodule(self.path)).forward)
        return forward

    def _find_cell(self, module: nn.Module) -> CellType:
        forward = self._find_forward(module)
        return dict(zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=False))[self.name]

    def read_value(self, module: nn.Module) -> int:
        if self.scope == "attribute":
            return int(getattr(module.get_submodule(self.path), self.name))
        if self.scope == "global":
            return int(self._find_forward(module).__globals__[self.name])
        if self.scope == "enclosing":
            return int(self._find_cell(module).cell_contents)
        return int(inspect.signature(module.get_submodule(self.path).forward).parameters[self.name].default)


def find_size_numbers(module: nn.Module) -> Iterator[SizeNumber]:
    """Find the integers in a module's code that may be its number of time-steps or its batch size."""
    alone: list[SizeNumber] = []
    alike: dict[tuple[str, int], list[str]] = {}
    for path, part in module.named_modules():
        if type(part).__module__.startswith("torch.nn"):
            continue
        read = {
            name
            for cls in _user_classes(type(part))
            for f in vars(cls).values()
            if callable(f)
            for name in _names_read(f)
        }
        for name, value in vars(part).items():
            if name in read and _is_small_int(value):
                alike.setdefault((name, value), []).append(path)
        if path and not list(part.children()):
            continue
        forward = inspect.unwrap(type(part).forward)
        for p in inspect.signature(forward).parameters.values() if not path else ():
            if type(p.default) is int and p.default > 0:
                alone.append(SizeNumber(path, p.name, "argument"))
        if not isinstance(forward, FunctionType):
            continue
        for name in forward.__code__.co_names:
            if _is_small_int(forward.__globals__.get(name)):
                alone.append(SizeNumber(path, name, "global"))
        for name, cell in zip(forward.__code__.co_freevars, forward.__closure__ or (), strict=False):
            if name != "__class__" and _is_small_int(cell.cell_contents):
                alone.append(SizeNumber(path, name, "enclosing"))
    yield from (SizeNumber(paths[0], name, "attribute", tuple(paths[1:])) for (name, _), paths in alike.items())
    yield from alone
    yield from (
        SizeNumber(path, name, "attribute") for (name, _), paths in alike.items() for path in paths if paths[1:]
    )


def _is_small_int(value: object) -> bool:
    return type(value) is int and 0 < value < 4096


def _user_classes(kind: type) -> Iterator[type]:
    return (cls for cls in kind.__mro__ if not cls.__module__.startswith(("torch.", "builtins")))


def _names_read(function: Callable[..., object]) -> tuple[str, ...]:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return () if code is None or function.__name__ == "__init__" else code.co_names


def mark_sizes(module: nn.Module, sizes: Mapping[int, SizeNumber], split: bool = False) -> nn.Module:
    """Mark the numbers in a module's code that must equal the sizes of axes of its input.

    `install_size_hook` makes the numbers follow the input, in a copy of that copy.
    split: forward has batch and time in one axis, and the marked copy takes them as two.
    """
    vars(module)[SIZES_KEY] = dict(sizes), split
    return module


def split_axis(values: dict[SizeNumber, int], joined: int) -> Iterator[tuple[dict[int, SizeNumber], tuple[int, int]]]:
    """Yield ways to split an axis of size `joined` in two, by sizes in the module's code: {SizeNumber: its value}."""
    for number, n in values.items():
        if joined % n == 0:
            yield {0: number}, (n, joined // n)
            yield {1: number}, (joined // n, n)
    for (first, n), (second, m) in permutations(values.items(), 2):
        if n * m == joined:
            yield {0: first, 1: second}, (n, m)


def has_marked_sizes(module: nn.Module) -> bool:
    return SIZES_KEY in vars(module)


def install_size_hook(module: nn.Module) -> None:
    """Wrap a module's forward so that the numbers marked in its code follow the input's sizes at each call."""
    if not has_marked_sizes(module):
        return
    sizes, split = vars(module)[SIZES_KEY]
    inner_forward = module.forward

    @functools.wraps(inner_forward)
    def forward(x: Tensor, *args: object, **keywords: object) -> object:
        first = x.shape[:2]
        with ExitStack() as stack:
            for axis, number in sizes.items():
                stack.enter_context(number.override(module, x.shape[axis]))
                keywords = {**number.set_value(module, x.shape[axis]), **keywords}
            if not split:
                return inner_forward(x, *args, **keywords)
            out = inner_forward(x.flatten(0, 1), *args, **keywords)
        joined = first[0] * first[1]
        return tree_map_only(Tensor, lambda y: y.unflatten(0, first) if y.dim() and len(y) == joined else y, out)

    object.__setattr__(module, "forward", forward)
