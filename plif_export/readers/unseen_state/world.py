"""What Python keeps between two steps of a module, outside of every trace: looked at, and put back.

Reached from a module are its parts and their attributes, through lists, dicts, objects and NumPy arrays; the functions of their
classes, and of these the globals, closures, default arguments and attributes, and what they call in turn; and the random
generators of PyTorch, NumPy and Python. Installed libraries that no part of the module is from are not looked into.
"""

from __future__ import annotations

import copy
import functools
import itertools
import operator
import random
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, replace
from functools import partial
from types import CellType, CodeType, FunctionType, GeneratorType, MemberDescriptorType, MethodType, ModuleType
from weakref import WeakKeyDictionary, WeakValueDictionary

import numpy as np
import torch
from torch import Tensor, nn

from plif_export.readers.unseen_state.codes import codes_in, codes_of, function_in, stored, whole_numbers
from plif_export.readers.unseen_state.generators import GENERATORS, Anything, Put, exact, state_of

FOREIGN = {*sys.stdlib_module_names, "torch", "numpy", "plif_export", "scipy", "onnx"}
HOLDERS = ("SimpleNamespace", "Namespace", "_local")  # of the standard library: objects with the user's numbers
REGISTERS = ("._modules", "._parameters", "._buffers", "._memories")  # whose keys are attributes of a module
OTHERS = ("_plif", "_backward_", "_state_dict", "_load_state")  # attributes that no step reads
INSIDE = "<module>"  # where the module's own values are
MOST = 64  # elements of a list that are looked into, numbers of a tensor that are compared


@dataclass(frozen=True)
class Spot:
    """where: a key of its own; name: as the code of its owner calls it; path: of the part; codes: of its owner."""

    where: str
    name: str
    path: str = ""
    codes: tuple[CodeType, ...] = ()

    def inner(self, key: object, name: str) -> Spot:
        return replace(self, where=f"{self.where}.{key}", name=name)


@dataclass(frozen=True)
class Slot:
    """A value that is kept. kind: "number", "length", "tensor", "random" or "other"; put: sets another; None where that cannot
    be done; live: the tensor or generator itself."""

    place: Spot
    kind: str
    value: Anything
    put: Put | None = None
    live: Anything = None

    def same(self, other: Slot) -> bool:
        one, two = self.value, other.value
        if type(one) is not type(two):
            return False
        if isinstance(one, np.ndarray | Tensor):
            return bool(np.array_equal(np.asarray(one), np.asarray(two), equal_nan=self.kind == "number"))
        return bool(one == two or (one != one and two != two))


class Surroundings:
    """Everything that is reached from a module, as it is now. slots: {where it is: what}; numbers: those in the code.

    owned  further objects, of any library, that are put back
    """

    def __init__(self, module: nn.Module, owned: Sequence[object] = ()) -> None:
        self.slots: dict[str, Slot] = {}
        self.numbers: set[int] = set()
        self.counted: set[str] = set()  # what __init__ writes, and no object has: attributes of classes
        self._seen: dict[int, object] = {}
        self._back: list[Callable[[], object]] = []
        self._parts = {id(part): path for path, part in module.named_modules()}
        classes = {cls for part in module.modules() for cls in type(part).__mro__}
        self._packages = {cls.__module__.partition(".")[0] for cls in classes} - FOREIGN
        for name, generator in GENERATORS.items():
            self._visit(generator, Spot(name, name))
        self._owned = {id(each) for each in owned}
        self._visit(module, Spot(INSIDE, "self"))
        for number, each in enumerate(owned):
            self._visit(each, Spot(f"owned {number}", ""))

    def put_back(self) -> None:
        """Makes everything what it was."""
        with torch.no_grad():
            for back in self._back:
                back()

    def _foreign(self, module: str | None) -> bool:
        """Whether a Python module is neither the user's own nor of a library that a part of the network is from."""
        package = (module or "").partition(".")[0]
        return package not in self._packages and _installed(package)

    def _visit(self, value: Anything, at: Spot, put: Put | None = None) -> None:
        """Enters a value, and what is reached from it."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            self.slots[at.where] = Slot(at, "number" if number else "other", value, put)
        elif id(value) not in self._seen and not isinstance(value, ModuleType):
            self._seen[id(value)] = value
            self._reached(value, at, put)

    def _reached(self, value: Anything, at: Spot, put: Put | None) -> None:
        if isinstance(value, Tensor):
            self._tensor(value, at)
        elif isinstance(value, np.ndarray):
            saved, put = value.copy(), partial(np.copyto, value, casting="unsafe")
            self._back.append(lambda: None if np.array_equal(value, saved) else put(saved))
            self.slots[at.where] = Slot(at, "number", saved, put)
        elif isinstance(value, random.Random | np.random.RandomState | np.random.Generator | torch.Generator):
            state, back = state_of(value)
            self._back.append(partial(back, state))
            self.slots[at.where] = Slot(at, "random", exact(state), None, value)
        elif isinstance(value, ContextVar):
            self._visit(value.get(None), at, value.set)
            self._back.append(partial(value.set, value.get(None)) if value in copy_context() else lambda: None)
        elif isinstance(value, WeakKeyDictionary | WeakValueDictionary):
            self._visit(vars(value)["data"], at)
        elif isinstance(value, dict | list | tuple | set | deque):
            owner = at.name.rpartition(".")[0]
            register = isinstance(value, dict) and at.where.endswith(REGISTERS)
            self._container(value, at, f"{owner}.{{}}" if register else f"{at.name}[{{!r}}]")
        elif isinstance(value, type):
            self._class(value, at.path)
        elif isinstance(value, MethodType | functools.partial):
            parts = (value.__self__, value.__func__) if isinstance(value, MethodType) else value.__reduce__()[2]
            for i, part in enumerate(parts):
                self._visit(part, at.inner(i, at.name))
        elif isinstance(value, FunctionType):
            self._function(value, at.path)
        elif isinstance(value, CellType):
            self._cell(value, at)
        elif isinstance(value, nn.Module) or (
            not self._foreign(type(value).__module__) or type(value).__name__ in HOLDERS
        ):
            self._object(value, at)
        else:
            self._closed(value, at, put)

    def _closed(self, value: Anything, at: Spot, put: Put | None) -> None:
        """Of an iterator what it gives next, of another object that cannot be looked into what its text shows."""
        if id(value) in self._owned and type(value).__dictoffset__:
            self._container(vars(value), at, f"{at.name}.{{}}")
        if isinstance(value, bytearray | array):
            self._back.append(partial(value.__setitem__, slice(None), value[:]))
        saved = _copied(value) if isinstance(value, Iterator) else None
        frame = value.gi_frame if isinstance(value, GeneratorType) else None
        if saved is not None and put is not None:
            self._back.append(lambda: None if _next(value) == _next(saved) else put(_copied(saved)))
        if saved is None and frame is None:
            standard = type(value).__module__.partition(".")[0] in sys.stdlib_module_names
            shown = repr(value) if standard else type(value).__qualname__
        else:
            shown = _next(value) if frame is None else f"{frame.f_lasti} {frame.f_locals}"
        self.slots[at.where] = Slot(at, "other", shown)

    def _tensor(self, value: Tensor, at: Spot) -> None:
        form = at.inner("shape", f"{at.name}.shape")
        self.slots[form.where] = Slot(
            form, "other", (value.dtype, value.shape, value.layout is torch.strided and value.storage_offset())
        )
        if vars(value):
            self._container(vars(value), at, f"{at.name}.{{}}")
        else:
            self._back.append(vars(value).clear)
        large, version = value.numel() > MOST, None if value.is_inference() else value._version
        weight = large and isinstance(value, nn.Parameter)  # is not copied: nothing should write into it
        memory, saved = value.detach(), value if weight else value.detach().clone()

        def put(new: Tensor) -> None:
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                value.copy_(new)

        def back() -> None:
            if value.layout is torch.strided and value.data_ptr() != memory.data_ptr():
                value.data = memory
            if not torch.equal(value, saved):  # arrays write without a new version
                put(saved)

        if not weight:
            self._back.append(back)
        if not large or not at.where.startswith(INSIDE):
            self.slots[at.where] = Slot(at, "tensor", (id(value), version) if large else saved, put, value)

    def _container(self, value: Anything, at: Spot, named: str) -> None:
        """Of a list and the like, or of an object's attributes. named: what the code calls the value at a key."""
        items = list(value.items() if isinstance(value, dict) else value)
        if not isinstance(value, tuple):
            kept = _objects(value)

            def back() -> None:
                now = _objects(value)
                if len(now) != len(kept) or not all(map(operator.is_, now, kept)):
                    _fill(value, items)

            self._back.append(back)
            size = at.inner("len()", f"len({at.name})")
            grow = partial(_resize, value) if items and not isinstance(value, set) else None
            self.slots[size.where] = Slot(size, "length", len(items), grow)
        for key, each in (items if isinstance(value, dict) else list(enumerate(items)))[:MOST]:
            put = partial(value.__setitem__, key) if isinstance(value, dict | list) else None
            if not str(key).startswith(OTHERS):
                self._visit(each, at.inner(key, named.format(key)), put)

    def _object(self, value: Anything, at: Spot) -> None:
        classes = [cls for cls in type(value).__mro__ if not self._foreign(cls.__module__)]
        codes = sorted((c for cls in classes for c in codes_of(cls)), key=lambda c: c.co_name != "forward")
        name, path = "self" if isinstance(value, nn.Module) else at.name, self._parts.get(id(value), at.path)
        at = Spot(at.where, name, path, tuple(dict.fromkeys((*codes, *at.codes))))
        self._container(getattr(value, "__dict__", {}), at, f"{name}.{{}}")
        for cls in classes:
            self._visit(cls, at)
            others = stored(vars(cls).get("__init__")) & vars(cls).keys() - getattr(value, "__dict__", {}).keys()
            self.counted |= {f"{cls.__name__}.{name}" for name in others if isinstance(vars(cls)[name], int | float)}
            for key, slot in vars(cls).items():
                if isinstance(slot, MemberDescriptorType) and hasattr(value, key):
                    each, put = slot.__get__(value), partial(slot.__set__, value)
                    self._back.append(partial(put, each))
                    self._visit(each, at.inner(key, f"{name}.{key}"), put)

    def _class(self, cls: type, path: str) -> None:
        if self._foreign(cls.__module__):
            return
        at = Spot(f"{cls.__module__}.{cls.__qualname__}", cls.__name__, path, tuple(codes_of(cls)))
        before = dict(vars(cls))

        def back() -> None:
            for key, each in vars(cls).copy().items():
                if key not in before and not key.startswith("__"):
                    delattr(cls, key)
                elif each is not before.get(key) and not key.startswith("__"):
                    setattr(cls, key, before[key])

        self._back.append(back)
        for key, each in before.items():
            if not key.startswith("__") or isinstance(each, FunctionType):
                self._visit(function_in(each), at.inner(key, f"{cls.__name__}.{key}"), partial(setattr, cls, key))

    def _function(self, function: FunctionType, path: str) -> None:
        if self._foreign(function.__module__):
            return
        own, codes = function.__globals__, tuple(codes_in(function.__code__))
        at = Spot(f"{function.__module__}.{function.__qualname__}", function.__name__, path, codes)
        self.numbers.update(n for code in codes for const in code.co_consts for n in whole_numbers(const))
        names = dict.fromkeys(name for code in codes for name in code.co_names)
        for name in names:
            each = own.get(name)
            if not isinstance(each, ModuleType):
                self._global(own, name, replace(at, where=f"{function.__module__}:{name}", name=name))
            elif not self._foreign(each.__name__):
                for inner in names.keys() & vars(each):
                    place = replace(at, where=f"{each.__name__}:{inner}", name=f"{name}.{inner}")
                    self._global(vars(each), inner, place)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._visit(cell, at.inner(name, name))
        taking = function.__code__.co_varnames[: function.__code__.co_argcount][::-1]
        defaults = zip(taking, (function.__defaults__ or ())[::-1], strict=False)
        for name, each in [*defaults, *(function.__kwdefaults__ or {}).items()]:
            self._visit(each, at.inner(f"({name})", name))
        self._container(vars(function), at, f"{function.__name__}.{{}}")

    def _global(self, own: dict[str, Anything], name: str, at: Spot) -> None:
        if name not in own:  # an attribute's name, or a global that forward will make
            self._back.append(lambda: own.pop(name, None))
            return
        value, put = own[name], partial(own.__setitem__, name)
        if not callable(value):
            self._back.append(lambda: None if own.get(name) is value else put(value))
        self._visit(value, at, put)

    def _cell(self, cell: CellType, at: Spot) -> None:
        try:
            value, put = cell.cell_contents, partial(CellType.cell_contents.__set__, cell)
        except ValueError:  # nothing was put into it yet
            return
        self._back.append(lambda: None if cell.cell_contents is value else put(value))
        self._visit(value, at, put)


@functools.cache
def _installed(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package in FOREIGN or "site-packages" in file or "dist-packages" in file


def _copied(iterator: Anything) -> Anything:
    """A copy; None of what cannot be copied: a generator, a file."""
    try:
        return copy.deepcopy(iterator)
    except Exception:  # whatever it raises
        return None


def _next(iterator: Anything) -> str:
    return repr(list(itertools.islice(_copied(iterator), 1000)))


def _objects(holder: Anything) -> list[object]:
    return [*holder, *holder.values()] if isinstance(holder, dict) else list(holder)


def _fill(holder: Anything, items: list[Anything]) -> None:
    holder.clear()
    if isinstance(holder, dict):
        for key, each in items:  # update() of a Counter adds
            holder[key] = each
    else:
        (holder.update if isinstance(holder, set) else holder.extend)(items)


def _resize(holder: Anything, size: int) -> None:
    """Makes a list, a deque or a dict shorter or longer, by what is last in it."""
    items = list(holder.items() if isinstance(holder, dict) else holder)
    more = range(1, size - len(items) + 1)
    if isinstance(holder, dict):
        key, value = items[-1]
        grown: list[Anything] = [(key + i if type(key) is int else (key, i), value) for i in more]
    else:
        grown = [items[-1] for _ in more]
    _fill(holder, items[:size] + grown)
