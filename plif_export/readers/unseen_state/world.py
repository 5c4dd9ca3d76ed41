"""Snapshots of the Python objects that a module can reach, which compare and restore them.

A snapshot follows the module's parts and attributes, through lists, dicts, objects and NumPy arrays, and functions of
their classes: globals, closures, defaults, attributes, and the functions that they call in turn. It includes random
generators of PyTorch, NumPy and Python. It does not enter installed libraries that no part of the module is from.
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

from plif_export.readers.unseen_state.codes import (
    find_assigned_attrs,
    iter_class_codes,
    iter_codes,
    iter_numbers,
    unwrap_method,
)
from plif_export.readers.unseen_state.generators import GENERATORS, Anything, Setter, format_rng_state, get_rng_state

FOREIGN_PACKAGES = {*sys.stdlib_module_names, "torch", "numpy", "plif_export", "scipy", "onnx"}
NAMESPACE_CLASSES = ("SimpleNamespace", "Namespace", "_local")  # of the standard library, with numbers of the user
MODULE_DICTS = ("._modules", "._parameters", "._buffers", "._memories")  # dicts with attributes of a module as keys
IGNORED_PREFIXES = ("_plif", "_backward_", "_state_dict", "_load_state")  # prefixes of attributes that no step reads
MODULE_KEY = "<module>"  # the first part of the keys of the module's own values
MAX_ELEMENTS = 64  # elements of a list that are visited, numbers of a tensor that are compared


@dataclass(frozen=True)
class Location:
    """The place of a Python value among the objects that a module can reach, such as self.counter.

    key: unique. name: as the code of its owner calls it. path: of the submodule. codes: of its owner.
    """

    key: str
    name: str
    path: str = ""
    codes: tuple[CodeType, ...] = ()

    def child(self, key: object, name: str) -> Location:
        return replace(self, key=f"{self.key}.{key}", name=name)


@dataclass(frozen=True)
class Slot:
    """A Python value in a snapshot of the objects around a module, with its location and a setter.

    kind: "number", "length", "tensor", "random" or "other". setter: None if the value cannot be set.
    live: the tensor or generator itself.
    """

    location: Location
    kind: str
    value: Anything
    setter: Setter | None = None
    live: Anything = None

    def has_same_value(self, slot: Slot) -> bool:
        a, b = self.value, slot.value
        if type(a) is not type(b):
            return False
        if isinstance(a, np.ndarray | Tensor):
            return bool(np.array_equal(np.asarray(a), np.asarray(b), equal_nan=self.kind == "number"))
        return bool(a == b or (a != a and b != b))


class ObjectGraph:
    """A snapshot of all Python objects that can be reached from a module, which can restore them.

    slots: {key of a location: value}. numbers: those in the code. owned: further objects to restore, of any library.
    """

    def __init__(self, module: nn.Module, owned: Sequence[object] = ()) -> None:
        self.slots: dict[str, Slot] = {}
        self.numbers: set[int] = set()
        self.class_counters: set[str] = set()  # numbers that __init__ writes into a class, as to count instances
        self.visited: dict[int, object] = {}
        self._restorers: list[Callable[[], object]] = []
        self._module_paths = {id(part): path for path, part in module.named_modules()}
        classes = {cls for part in module.modules() for cls in type(part).__mro__}
        self._packages = {cls.__module__.partition(".")[0] for cls in classes} - FOREIGN_PACKAGES
        for name, generator in GENERATORS.items():
            self._visit(generator, Location(name, name))
        self._owned = {id(value) for value in owned}
        self._visit(module, Location(MODULE_KEY, "self"))
        for number, value in enumerate(owned):
            self._visit(value, Location(f"owned {number}", ""))

    def restore(self) -> None:
        """Restore all Python objects around a module to their values in a snapshot."""
        with torch.no_grad():
            for restore_object in self._restorers:
                restore_object()

    def _is_foreign(self, module: str | None) -> bool:
        """Return whether a Python module is of an installed library from which no part of the network comes."""
        package = (module or "").partition(".")[0]
        return package not in self._packages and _is_installed(package)

    def _visit(self, value: Anything, location: Location, setter: Setter | None = None) -> None:
        """Add a Python value, and all objects that can be reached from it, to a snapshot of a module's objects."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | np.generic):
            number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            self.slots[location.key] = Slot(location, "number" if number else "other", value, setter)
        elif id(value) not in self.visited and not isinstance(value, ModuleType):
            self.visited[id(value)] = value
            self._visit_object(value, location, setter)

    def _visit_object(self, value: Anything, location: Location, setter: Setter | None) -> None:
        if isinstance(value, Tensor):
            self._visit_tensor(value, location)
        elif isinstance(value, np.ndarray):
            saved, setter = value.copy(), partial(np.copyto, value, casting="unsafe")
            self._restorers.append(lambda: None if np.array_equal(value, saved) else setter(saved))
            self.slots[location.key] = Slot(location, "number", saved, setter)
        elif isinstance(value, random.Random | np.random.RandomState | np.random.Generator | torch.Generator):
            state, set_state = get_rng_state(value)
            self._restorers.append(partial(set_state, state))
            self.slots[location.key] = Slot(location, "random", format_rng_state(state), None, value)
        elif isinstance(value, ContextVar):
            self._visit(value.get(None), location, value.set)
            self._restorers.append(partial(value.set, value.get(None)) if value in copy_context() else lambda: None)
        elif isinstance(value, WeakKeyDictionary | WeakValueDictionary):
            self._visit(vars(value)["data"], location)
        elif isinstance(value, dict | list | tuple | set | deque):
            owner = location.name.rpartition(".")[0]
            register = isinstance(value, dict) and location.key.endswith(MODULE_DICTS)
            self._visit_elements(value, location, f"{owner}.{{}}" if register else f"{location.name}[{{!r}}]")
        elif isinstance(value, type):
            self._visit_class(value, location.path)
        elif isinstance(value, MethodType | functools.partial):
            parts = (value.__self__, value.__func__) if isinstance(value, MethodType) else value.__reduce__()[2]
            for i, part in enumerate(parts):
                self._visit(part, location.child(i, location.name))
        elif isinstance(value, FunctionType):
            self._visit_function(value, location.path)
        elif isinstance(value, CellType):
            self._visit_cell(value, location)
        elif isinstance(value, nn.Module) or (
            not self._is_foreign(type(value).__module__) or type(value).__name__ in NAMESPACE_CLASSES
        ):
            self._visit_instance(value, location)
        else:
            self._visit_opaque(value, location, setter)

    def _visit_opaque(self, value: Anything, location: Location, setter: Setter | None) -> None:
        """Add an object of unreadable contents to a snapshot: an iterator by its next elements, others by text."""
        if id(value) in self._owned and type(value).__dictoffset__:
            self._visit_elements(vars(value), location, f"{location.name}.{{}}")
        if isinstance(value, bytearray | array):
            self._restorers.append(partial(value.__setitem__, slice(None), value[:]))
        saved = _copy_iterator(value) if isinstance(value, Iterator) else None
        frame = value.gi_frame if isinstance(value, GeneratorType) else None
        if saved is not None and setter is not None:
            self._restorers.append(
                lambda: None if _peek_elements(value) == _peek_elements(saved) else setter(_copy_iterator(saved))
            )
        if saved is None and frame is None:
            standard = type(value).__module__.partition(".")[0] in sys.stdlib_module_names
            shown = repr(value) if standard else type(value).__qualname__
        else:
            shown = _peek_elements(value) if frame is None else f"{frame.f_lasti} {frame.f_locals}"
        self.slots[location.key] = Slot(location, "other", shown)

    def _visit_tensor(self, value: Tensor, location: Location) -> None:
        shape_location = location.child("shape", f"{location.name}.shape")
        facts = value.dtype, value.shape, value.layout is torch.strided and value.storage_offset()
        self.slots[shape_location.key] = Slot(shape_location, "other", facts)
        if vars(value):
            self._visit_elements(vars(value), location, f"{location.name}.{{}}")
        else:
            self._restorers.append(vars(value).clear)
        large, version = value.numel() > MAX_ELEMENTS, None if value.is_inference() else value._version
        weight = large and isinstance(value, nn.Parameter)  # is not copied: nothing should write into it
        memory, saved = value.detach(), value if weight else value.detach().clone()

        def write_tensor(new: Tensor) -> None:
            with torch.inference_mode(value.is_inference()), torch.no_grad():
                value.copy_(new)

        def restore_tensor() -> None:
            if value.layout is torch.strided and value.data_ptr() != memory.data_ptr():
                value.data = memory
            if not torch.equal(value, saved):  # arrays write without a new version
                write_tensor(saved)

        if not weight:
            self._restorers.append(restore_tensor)
        if not large or not location.key.startswith(MODULE_KEY):
            current = (id(value), version) if large else saved
            self.slots[location.key] = Slot(location, "tensor", current, write_tensor, value)

    def _visit_elements(self, value: Anything, location: Location, key_format: str) -> None:
        """Add a container's elements or an object's attributes to a snapshot; `key_format` names one by its key."""
        items = list(value.items() if isinstance(value, dict) else value)
        if not isinstance(value, tuple):
            entries = _list_entries(value)

            def restore_elements() -> None:
                current = _list_entries(value)
                if len(current) != len(entries) or not all(map(operator.is_, current, entries)):
                    _refill_container(value, items)

            self._restorers.append(restore_elements)
            size = location.child("len()", f"len({location.name})")
            grow = partial(_resize_container, value) if items and not isinstance(value, set) else None
            self.slots[size.key] = Slot(size, "length", len(items), grow)
        for key, element in (items if isinstance(value, dict) else list(enumerate(items)))[:MAX_ELEMENTS]:
            setter = partial(value.__setitem__, key) if isinstance(value, dict | list) else None
            if not str(key).startswith(IGNORED_PREFIXES):
                self._visit(element, location.child(key, key_format.format(key)), setter)

    def _visit_instance(self, value: Anything, location: Location) -> None:
        classes = [cls for cls in type(value).__mro__ if not self._is_foreign(cls.__module__)]
        codes = sorted((c for cls in classes for c in iter_class_codes(cls)), key=lambda c: c.co_name != "forward")
        name = "self" if isinstance(value, nn.Module) else location.name
        path = self._module_paths.get(id(value), location.path)
        location = Location(location.key, name, path, tuple(dict.fromkeys((*codes, *location.codes))))
        self._visit_elements(getattr(value, "__dict__", {}), location, f"{name}.{{}}")
        for cls in classes:
            self._visit(cls, location)
            class_attrs = vars(cls).keys() - getattr(value, "__dict__", {}).keys()
            shared = find_assigned_attrs(vars(cls).get("__init__")) & class_attrs
            counters = (key for key in shared if isinstance(vars(cls)[key], int | float))
            self.class_counters |= {f"{cls.__name__}.{key}" for key in counters}
            for key, slot in vars(cls).items():
                if isinstance(slot, MemberDescriptorType) and hasattr(value, key):
                    member, setter = slot.__get__(value), partial(slot.__set__, value)
                    self._restorers.append(partial(setter, member))
                    self._visit(member, location.child(key, f"{name}.{key}"), setter)

    def _visit_class(self, cls: type, path: str) -> None:
        if self._is_foreign(cls.__module__):
            return
        location = Location(f"{cls.__module__}.{cls.__qualname__}", cls.__name__, path, tuple(iter_class_codes(cls)))
        before = dict(vars(cls))

        def restore_members() -> None:
            for key, member in vars(cls).copy().items():
                if key not in before and not key.startswith("__"):
                    delattr(cls, key)
                elif member is not before.get(key) and not key.startswith("__"):
                    setattr(cls, key, before[key])

        self._restorers.append(restore_members)
        for key, member in before.items():
            if not key.startswith("__") or isinstance(member, FunctionType):
                child = location.child(key, f"{cls.__name__}.{key}")
                self._visit(unwrap_method(member), child, partial(setattr, cls, key))

    def _visit_function(self, function: FunctionType, path: str) -> None:
        if self._is_foreign(function.__module__):
            return
        namespace, codes = function.__globals__, tuple(iter_codes(function.__code__))
        location = Location(f"{function.__module__}.{function.__qualname__}", function.__name__, path, codes)
        self.numbers.update(n for code in codes for const in code.co_consts for n in iter_numbers(const))
        names = dict.fromkeys(name for code in codes for name in code.co_names)
        for name in names:
            value = namespace.get(name)
            if not isinstance(value, ModuleType):
                self._visit_global(namespace, name, replace(location, key=f"{function.__module__}:{name}", name=name))
            elif not self._is_foreign(value.__name__):
                for inner in names.keys() & vars(value):
                    member_location = replace(location, key=f"{value.__name__}:{inner}", name=f"{name}.{inner}")
                    self._visit_global(vars(value), inner, member_location)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._visit(cell, location.child(name, name))
        parameters = function.__code__.co_varnames[: function.__code__.co_argcount][::-1]
        defaults = zip(parameters, (function.__defaults__ or ())[::-1], strict=False)
        for name, value in [*defaults, *(function.__kwdefaults__ or {}).items()]:
            self._visit(value, location.child(f"({name})", name))
        self._visit_elements(vars(function), location, f"{function.__name__}.{{}}")

    def _visit_global(self, namespace: dict[str, Anything], name: str, location: Location) -> None:
        if name not in namespace:  # an attribute's name, or a global that forward will make
            self._restorers.append(lambda: namespace.pop(name, None))
            return
        value, setter = namespace[name], partial(namespace.__setitem__, name)
        if not callable(value):
            self._restorers.append(lambda: None if namespace.get(name) is value else setter(value))
        self._visit(value, location, setter)

    def _visit_cell(self, cell: CellType, location: Location) -> None:
        try:
            value, setter = cell.cell_contents, partial(CellType.cell_contents.__set__, cell)
        except ValueError:  # nothing was put into it yet
            return
        self._restorers.append(lambda: None if cell.cell_contents is value else setter(value))
        self._visit(value, location, setter)


@functools.cache
def _is_installed(package: str) -> bool:
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return package in FOREIGN_PACKAGES or "site-packages" in file or "dist-packages" in file


def _copy_iterator(iterator: Anything) -> Anything:
    """Return a deep copy of an iterator, or None if it cannot be copied (a generator, a file)."""
    try:
        return copy.deepcopy(iterator)
    except Exception:  # whatever it raises
        return None


def _peek_elements(iterator: Anything) -> str:
    return repr(list(itertools.islice(_copy_iterator(iterator), 1000)))


def _list_entries(holder: Anything) -> list[object]:
    return [*holder, *holder.values()] if isinstance(holder, dict) else list(holder)


def _refill_container(holder: Anything, items: list[Anything]) -> None:
    holder.clear()
    if isinstance(holder, dict):
        for key, value in items:  # update() of a Counter adds
            holder[key] = value
    else:
        (holder.update if isinstance(holder, set) else holder.extend)(items)


def _resize_container(holder: Anything, size: int) -> None:
    """Make a Python list, deque or dict shorter, or longer by copies of its last element."""
    items = list(holder.items() if isinstance(holder, dict) else holder)
    offsets = range(1, size - len(items) + 1)
    if isinstance(holder, dict):
        key, value = items[-1]
        grown: list[Anything] = [(key + i if type(key) is int else (key, i), value) for i in offsets]
    else:
        grown = [items[-1] for _ in offsets]
    _refill_container(holder, items[:size] + grown)
