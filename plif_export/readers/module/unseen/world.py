"""What Python keeps between two steps of a module, outside of every trace: looked at, and put back.

Reached from a module are its parts and their attributes, through lists, dicts, objects and NumPy arrays; the functions of their
classes, and of these the globals, closures, default arguments and attributes, and what they call in turn; and the random
generators of PyTorch, NumPy and Python. What belongs to a library that keeps no state of a network is not looked into.
"""

from __future__ import annotations

import dis
import functools
import operator
import random
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

GENERATORS: dict[str, Any] = {
    "random numbers of Python": getattr(random, "_inst"),  # noqa: B009  # typeshed does not know it
    "random numbers of NumPy": getattr(np.random.get_state, "__self__"),  # noqa: B009
    "random numbers of PyTorch": torch.default_generator,
}
FOREIGN = {*sys.stdlib_module_names, "torch", "numpy", "plif_export", "scipy", "onnx"}
HOLDERS = ("SimpleNamespace", "Namespace")  # of the standard library: objects of the user's numbers
REGISTERS = ("_modules", "_parameters", "_buffers", "_memories")  # whose keys are attributes of a module
INSIDE = "<module>"  # where the module's own values are
MOST = 64  # elements of a list that are looked into, numbers of a tensor that are compared


@dataclass
class Slot:
    """A value that is kept.

    name   as its owner's code calls it;  path: of the part
    kind   "number", "length", "tensor", "random" or "other"
    put    sets another; None where that cannot be done
    codes  of its owner, which may write it;  live: the tensor or generator itself
    """

    name: str
    path: str
    kind: str
    value: Any
    put: Callable[[Any], None] | None
    codes: list[CodeType]
    live: Any = None

    def same(self, other: Slot) -> bool:
        one, two = self.value, other.value
        if type(one) is not type(two):
            return False
        if isinstance(one, np.ndarray | Tensor):
            return bool(np.array_equal(np.asarray(one), np.asarray(two), equal_nan=self.kind == "number"))
        return bool(one == two or (one != one and two != two))

    def line(self) -> str:
        """Where its owner's code writes it, or else reads it: "forward line 41 of model.py"."""
        name = self.name.removeprefix("len(").rstrip(")").partition("[")[0].rpartition(".")[-1]
        for verb in ("STORE_", "LOAD_"):
            for code in self.codes:
                lines, line = dict(dis.findlinestarts(code)), code.co_firstlineno
                for each in dis.get_instructions(code):
                    line = lines.get(each.offset) or line
                    if each.argval == name and each.opname.startswith(verb) and code.co_name != "__init__":
                        return f"{code.co_name} line {line} of {Path(code.co_filename).name}"
        return "in code that was not found"


class World:
    """Everything that is reached from a module, as it is now. slots: {where it is: what}; numbers: in the code."""

    def __init__(self, module: nn.Module) -> None:
        self.slots: dict[str, Slot] = {}
        self.numbers: set[int] = set()
        self._seen: dict[int, object] = {}
        self._back: list[Callable[[], object]] = []
        self._parts = {id(part): path for path, part in module.named_modules()}
        self._packages = {
            cls.__module__.partition(".")[0] for part in module.modules() for cls in type(part).__mro__
        } - FOREIGN
        for name, generator in GENERATORS.items():
            self._visit(generator, name, name, "", None, [])
        self._visit(module, INSIDE, "self", "", None, [])

    def _foreign(self, module: str | None) -> bool:
        """Whether a Python module is of no library that a part of the network comes from, nor the user's own."""
        package = (module or "").partition(".")[0]
        return package not in self._packages and _installed(package)

    def put_back(self) -> None:
        """Makes everything what it was when the world was looked at."""
        with torch.no_grad():
            for back in self._back:
                back()

    def _visit(
        self, value: Any, where: str, name: str, path: str, put: Callable[[Any], None] | None, codes: list[CodeType]
    ) -> None:
        """Enters a value, and what is reached from it. where: a key of its own."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            self.slots[where] = Slot(name, path, "number" if number else "other", value, put, codes)
            return
        if id(value) in self._seen:
            return
        self._seen[id(value)] = value
        if isinstance(value, Tensor):
            self._tensor(value, where, name, path, codes)
        elif isinstance(value, np.ndarray):
            saved, put = value.copy(), partial(np.copyto, value, casting="unsafe")
            self._back.append(lambda: None if np.array_equal(value, saved) else put(saved))
            self.slots[where] = Slot(name, path, "number", saved, put, codes)
        elif isinstance(value, random.Random | np.random.RandomState | np.random.Generator | torch.Generator):
            state, back = state_of(value)
            self._back.append(lambda: back(state))
            self.slots[where] = Slot(name, path, "random", exact(state), None, codes, value)
        elif isinstance(value, dict | list | tuple | set | deque):
            registers = isinstance(value, dict) and where.endswith(tuple(f".{each}" for each in REGISTERS))
            owner = name.rpartition(".")[0]
            shown = (lambda key: f"{owner}.{key}") if registers else (lambda key: f"{name}[{key!r}]")
            self._container(value, where, name, path, codes, shown)
        elif isinstance(value, type):
            self._class(value, path)
        elif isinstance(value, MethodType | functools.partial):
            parts = (value.__self__, value.__func__) if isinstance(value, MethodType) else value.__reduce__()[2]
            for i, part in enumerate(parts):
                self._visit(part, f"{where}.{i}", name, path, None, codes)
        elif isinstance(value, FunctionType):
            self._function(value, path)
        elif isinstance(value, CellType):
            self._cell(value, where, name, path, codes)
        elif isinstance(value, ModuleType) or hasattr(value, "__torch_dispatch__"):
            return
        elif hasattr(value, "__dict__") and (
            isinstance(value, nn.Module) or not self._foreign(type(value).__module__) or type(value).__name__ in HOLDERS
        ):
            path = self._parts.get(id(value), path)
            own = [cls for cls in type(value).__mro__ if not self._foreign(cls.__module__)]
            codes = sorted((c for cls in own for c in _class_codes(cls)), key=lambda c: c.co_name != "forward") or codes
            owner = "self" if isinstance(value, nn.Module) else name
            self._container(vars(value), f"{where}.", owner, path, codes, lambda key: f"{owner}.{key}")
            for cls in own:
                self._visit(cls, "", "", path, None, codes)
        else:
            frame = getattr(value, "gi_frame", None)
            at = (
                repr(value)
                if hasattr(value, "__next__")
                else ""
                if frame is None
                else f"{frame.f_lasti} {frame.f_locals}"
            )
            self.slots[where] = Slot(name, path, "other", f"{type(value).__qualname__} {at}", None, codes)

    def _tensor(self, value: Tensor, where: str, name: str, path: str, codes: list[CodeType]) -> None:
        large, made = value.numel() > MOST, None if value.is_inference() else value._version
        weight = large and isinstance(
            value, nn.Parameter
        )  # large weights are not copied; nothing should write into them
        saved = value if weight else value.detach().clone()

        def put(new: Tensor) -> None:
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                value.copy_(new)

        if not weight:
            self._back.append(lambda: None if made is not None and value._version == made else put(saved))
        if not large or not where.startswith(INSIDE):
            shown = (id(value), made) if large else saved
            self.slots[where] = Slot(name, path, "tensor", shown, put, codes, value)

    def _container(
        self, value: Any, where: str, name: str, path: str, codes: list[CodeType], shown: Callable[[Any], str]
    ) -> None:
        """Of a list and the like, or of an object's attributes. shown: what the code calls the value at a key."""
        items = list(value.items() if isinstance(value, dict) else value)
        if not isinstance(value, tuple):
            kept = _objects(value)

            def back() -> None:
                now = _objects(value)
                if len(now) != len(kept) or not all(map(operator.is_, now, kept)):
                    _fill(value, items)

            self._back.append(back)
            grow = partial(_resize, value) if items and not isinstance(value, set) else None
            self.slots[f"{where}len()"] = Slot(f"len({name})", path, "length", len(items), grow, codes)
        for key, each in (items if isinstance(value, dict) else list(enumerate(items)))[:MOST]:
            put = partial(value.__setitem__, key) if isinstance(value, dict | list) else None
            if not str(key).startswith(("_plif", "_forward_", "_backward_", "_state_dict", "_load_state")):
                self._visit(each, f"{where}.{key}", shown(key), path, put, codes)

    def _class(self, cls: type, path: str) -> None:
        if self._foreign(cls.__module__):
            return
        codes = list(_class_codes(cls))
        for key, each in list(vars(cls).items()):
            each = getattr(each, "__func__", getattr(each, "fget", each))
            if key.startswith("__") and not isinstance(each, FunctionType):
                continue
            put = partial(setattr, cls, key)
            if not callable(each) and not hasattr(each, "__get__"):
                self._back.append(partial(_put_if_other, vars(cls), key, each, put))
            self._visit(each, f"{cls.__module__}.{cls.__qualname__}.{key}", f"{cls.__name__}.{key}", path, put, codes)

    def _function(self, function: FunctionType, path: str) -> None:
        if self._foreign(function.__module__):
            return
        where, own = f"{function.__module__}.{function.__qualname__}", function.__globals__
        codes = list(_codes(function.__code__))
        self.numbers.update(n for code in codes for const in code.co_consts for n in _whole(const))
        names = dict.fromkeys(name for code in codes for name in code.co_names)
        for name in (name for name in names if name in own):
            each = own[name]
            if not isinstance(each, ModuleType):
                self._global(own, name, function.__module__, name, path, codes)
            elif not self._foreign(each.__name__):
                for inner in (n for n in names if n in vars(each)):
                    self._global(vars(each), inner, each.__name__, f"{name}.{inner}", path, codes)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._visit(cell, f"{where} {name}", name, path, None, codes)
        names_of = function.__code__.co_varnames[: function.__code__.co_argcount][::-1]
        defaults = zip(names_of, (function.__defaults__ or ())[::-1], strict=False)
        for name, each in [*defaults, *(function.__kwdefaults__ or {}).items()]:
            self._visit(each, f"{where}({name})", name, path, None, codes)
        self._container(
            vars(function), f"{where}.", function.__name__, path, codes, lambda key: f"{function.__name__}.{key}"
        )

    def _global(self, own: dict[str, Any], name: str, home: str, shown: str, path: str, codes: list[CodeType]) -> None:
        value, put = own[name], partial(own.__setitem__, name)
        if not callable(value):
            self._back.append(partial(_put_if_other, own, name, value, put))
        self._visit(value, f"{home}:{name}", shown, path, put, codes)

    def _cell(self, cell: CellType, where: str, name: str, path: str, codes: list[CodeType]) -> None:
        try:
            value, put = cell.cell_contents, partial(setattr, cell, "cell_contents")
        except ValueError:  # nothing was put into it yet
            return
        self._back.append(lambda: None if cell.cell_contents is value else put(value))
        self._visit(value, where, name, path, put, codes)


def state_of(generator: Any) -> tuple[Any, Callable[[Any], object]]:
    """The state of a random generator, and what sets it."""
    if isinstance(generator, random.Random):
        return generator.getstate(), generator.setstate
    if isinstance(generator, torch.Generator):
        return generator.get_state(), partial(torch.Generator.set_state, generator)
    if isinstance(generator, np.random.RandomState):
        return generator.get_state(legacy=False), generator.set_state
    return generator.bit_generator.state, partial(setattr, generator.bit_generator, "state")


def exact(state: Any) -> str:
    """A random generator's state, to compare it."""
    if isinstance(state, dict):
        return str({key: exact(each) for key, each in state.items()})
    return str(state.tolist() if isinstance(state, np.ndarray | Tensor) else state)


@functools.cache
def _installed(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package in FOREIGN or "site-packages" in file or "dist-packages" in file


def _put_if_other(store: Any, key: str, value: object, put: Callable[[Any], None]) -> None:
    if store.get(key) is not value:
        put(value)


def _objects(holder: Any) -> list[object]:
    return [*holder, *holder.values()] if isinstance(holder, dict) else list(holder)


def _fill(holder: Any, items: list[Any]) -> None:
    holder.clear()
    (holder.update if isinstance(holder, dict | set) else holder.extend)(items)


def _resize(holder: Any, size: int) -> None:
    """Makes a list, a deque or a dict shorter or longer, by what is last in it."""
    items = list(holder.items() if isinstance(holder, dict) else holder)
    more = range(1, size - len(items) + 1)
    if isinstance(holder, dict):
        key, value = items[-1]
        grown: list[Any] = [(key + i if type(key) is int else (key, i), value) for i in more]
    else:
        grown = [items[-1] for _ in more]
    _fill(holder, items[:size] + grown)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _codes(each)


def _class_codes(cls: type) -> Iterator[CodeType]:
    for each in vars(cls).values():
        function = getattr(each, "__func__", getattr(each, "fget", each))
        if isinstance(function, FunctionType):
            yield from _codes(function.__code__)


def _whole(const: object) -> Iterator[int]:
    if isinstance(const, tuple | frozenset):
        for each in const:
            yield from _whole(each)
    elif isinstance(const, int | float) and not isinstance(const, bool) and abs(const) < 1e9:
        yield int(const)


_AROUND: ContextVar[World | None] = ContextVar("_AROUND", default=None)


@contextmanager
def put_back(module: nn.Module) -> Iterator[None]:
    """Makes all that is reached from a module what it was, after copies of it ran, and before each does (`start_again`)."""
    world = World(module)
    token = _AROUND.set(world)
    try:
        yield
    finally:
        _AROUND.reset(token)
        world.put_back()


def start_again() -> None:
    """Before a run of a new copy: what earlier ones changed around them is as it was."""
    if (world := _AROUND.get()) is not None:
        world.put_back()
