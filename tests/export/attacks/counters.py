"""Counters wherever Python can keep a number: modules that do something else in a later step. Drawn from outside."""

from __future__ import annotations

import array
import contextlib
import contextvars
import ctypes
import functools
import itertools
import logging
import os
import tempfile
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.export.attacks.modules import Net, turns


class Counts(Net):
    """`late` is asked once a step; from then on the input is not seen."""

    def late(self) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.late() else x)


# --- in attributes --------------------------------------------------------------------------------------------------------


@turns
class ResetsEvery16(Net):
    """an int of the module"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 16 == 0:
            self.forget()
        return self.run(x)


@turns
class ResetsEvery100(Net):
    """an int of the module, beyond any short run"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 100 == 0:
            self.forget()
        return self.run(x)


@turns
class Step1000(Net):
    """the 1000th step alone is inverted"""

    n, steps = 0, 1100

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        y = self.run(x)
        return 1 - y if self.n == 1000 else y


@turns
class WarmsUp20(Net):
    """the first 20 outputs are 0"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x) * (1.0 if self.n > 20 else 0.0)


@turns
class FloatOfTime(Counts):
    """a float that grows by 0.05 s a step"""

    seconds = 0.0

    def late(self) -> bool:
        self.seconds += 0.05
        return self.seconds > 9.9


@turns
class TextGrows(Counts):
    """a text with a letter for each step"""

    log = ""

    def late(self) -> bool:
        self.log += "."
        return self.log.endswith("." * 130)


@turns
class Flag(Net):
    """a bool that turns when the 77th step comes, and a bit field"""

    bits = 1

    def forward(self, x: Tensor) -> Tensor:
        self.bits = self.bits << 1
        return self.run(x) if self.bits < 1 << 77 else self.run(x).flip(-1)


@turns
class ListGrows(Counts):
    """a list of what happened: its length"""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def late(self) -> bool:
        self.log.append("step")
        return len(self.log) > 90


@turns
class DictOfCounts(Counts):
    """a dict in a dict"""

    def __init__(self) -> None:
        super().__init__()
        self.statistics = {"calls": {"forward": 0}}

    def late(self) -> bool:
        self.statistics["calls"]["forward"] += 1
        return self.statistics["calls"]["forward"] > 110


@turns
class SetGrows(Counts):
    """a set of numbers"""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[int] = set()

    def late(self) -> bool:
        self.seen.add(len(self.seen))
        return 95 in self.seen


@turns
class DequeFull(Counts):
    """a deque of 80 that is full"""

    def __init__(self) -> None:
        super().__init__()
        self.last: deque[int] = deque(maxlen=80)

    def late(self) -> bool:
        full = len(self.last) == 80
        self.last.append(0)
        return full


@turns
class NumpyCounter(Counts):
    """a NumPy array of one number"""

    def __init__(self) -> None:
        super().__init__()
        self.n = np.zeros(1, np.int64)

    def late(self) -> bool:
        self.n += 1
        return bool(self.n[0] > 120)


@turns
class NumpyScalar(Counts):
    """a NumPy number, made anew in each step"""

    def __init__(self) -> None:
        super().__init__()
        self.n = np.float32(0)

    def late(self) -> bool:
        self.n = np.float32(self.n + 1)
        return bool(self.n > 85)


@turns
class Bytes(Counts):
    """a bytearray, whose byte wraps"""

    def __init__(self) -> None:
        super().__init__()
        self.n = bytearray(1)

    def late(self) -> bool:
        self.n[0] = (self.n[0] + 1) % 256
        return self.n[0] > 200


@turns
class ArrayOfC(Counts):
    """array.array of one number"""

    def __init__(self) -> None:
        super().__init__()
        self.n = array.array("i", [0])

    def late(self) -> bool:
        self.n[0] += 1
        return self.n[0] > 75


class _Slots:
    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


@turns
class ObjectWithSlots(Counts):
    """an object that has no __dict__"""

    def __init__(self) -> None:
        super().__init__()
        self.record = _Slots()

    def late(self) -> bool:
        self.record.n += 1
        return self.record.n > 100


@turns
class Namespace(Counts):
    """a namespace three levels down"""

    def __init__(self) -> None:
        super().__init__()
        self.config = types.SimpleNamespace(run=types.SimpleNamespace(progress=[0]))

    def late(self) -> bool:
        self.config.run.progress[0] += 1
        return self.config.run.progress[0] > 100


@turns
class Slot(Counts):
    """the place in a ring of 70 decides, and none of its tensors is a state"""

    def __init__(self) -> None:
        super().__init__()
        self.ring = [torch.zeros(1) for _ in range(70)]
        self.at = 0

    def late(self) -> bool:
        self.at = (self.at + 1) % len(self.ring)
        return self.at == 0


# --- in functions, classes, modules of Python ---------------------------------------------------------------------------------


def _closure() -> Callable[[], int]:
    n = 0

    def step() -> int:
        nonlocal n
        n += 1
        return n

    return step


@turns
class Closure(Counts):
    """nonlocal n"""

    def __init__(self) -> None:
        super().__init__()
        self.step = _closure()

    def late(self) -> bool:
        return self.step() % 90 > 45


_N = 0
_BOX = {"n": 0}


@turns
class Global(Counts):
    """global n: also the number of all modules of the process"""

    def late(self) -> bool:
        global _N
        _N += 1
        return _N % 90 > 70


@turns
class GlobalDict(Counts):
    """a dict beside the class"""

    def late(self) -> bool:
        _BOX["n"] += 1
        return _BOX["n"] % 400 > 250


@turns
class ClassAttribute(Counts):
    """type(self).n, which a copy shares"""

    n = 0

    def late(self) -> bool:
        type(self).n += 1
        return type(self).n % 90 > 60


@turns
class DefaultArgument(Counts):
    """a list that is a default argument"""

    def late(self, n: list[int] = [0]) -> bool:  # noqa: B006
        n[0] += 1
        return n[0] % 200 > 120


@turns
class FunctionAttribute(Counts):
    """an attribute of the function"""

    def late(self) -> bool:
        function: Any = FunctionAttribute.late
        function.n = getattr(function, "n", 0) + 1
        return function.n % 200 > 130


@turns
class OfAnotherModule(Counts):
    """an attribute of a module of Python's library"""

    def late(self) -> bool:
        module: Any = itertools
        module.steps = getattr(module, "steps", 0) + 1
        return module.steps % 200 > 140

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        itertools.steps = 0  # type: ignore[attr-defined]
        yield
        del itertools.steps  # type: ignore[attr-defined]


@turns
class AttributeOfATensor(Counts):
    """a Python attribute of a weight"""

    def late(self) -> bool:
        weight: Any = self.fc1.weight
        weight.uses = getattr(weight, "uses", 0) + 1
        return weight.uses > 100


@turns
class Partial(Counts):
    """an argument that functools.partial keeps"""

    def __init__(self) -> None:
        super().__init__()
        self.step = functools.partial(_count, [0])

    def late(self) -> bool:
        return self.step() > 100


def _count(n: list[int]) -> int:
    n[0] += 1
    return n[0]


@turns
class CacheInfo(Counts):
    """the statistics of an lru_cache"""

    def __init__(self) -> None:
        super().__init__()
        self.known = functools.lru_cache(maxsize=None)(lambda: 0)

    def late(self) -> bool:
        self.known()
        return self.known.cache_info().hits > 90


_CONTEXT = contextvars.ContextVar("n", default=0)


@turns
class ContextVariable(Counts):
    """a context variable"""

    def late(self) -> bool:
        _CONTEXT.set(_CONTEXT.get() + 1)
        return _CONTEXT.get() % 300 > 200


_LOCAL = threading.local()


@turns
class ThreadLocal(Counts):
    """a number of this thread"""

    def late(self) -> bool:
        _LOCAL.n = getattr(_LOCAL, "n", 0) + 1
        return _LOCAL.n % 300 > 220


_WEAK: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


@turns
class WeakDictionary(Counts):
    """a number for each module, in a dict that forgets them"""

    def late(self) -> bool:
        _WEAK[self] = _WEAK.get(self, 0) + 1
        return _WEAK[self] > 100


# --- in iterators ---------------------------------------------------------------------------------------------------------


@turns
class Generator(Counts):
    """a generator: where it stands"""

    def __init__(self) -> None:
        super().__init__()
        self.steps = (n > 100 for n in itertools.count())

    def late(self) -> bool:
        return next(self.steps)


@turns
class GeneratorInAFunction(Counts):
    """a generator that a function holds, so that a copy shares it"""

    def __init__(self) -> None:
        super().__init__()
        numbers = itertools.count()
        self.number = lambda: next(numbers)

    def late(self) -> bool:
        return self.number() % 180 > 100


@turns
class Cycle(Net):
    """itertools.cycle over 70 gains"""

    def __init__(self) -> None:
        super().__init__()
        self.gains = itertools.cycle([1.0] * 69 + [0.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * next(self.gains))


@turns
class IteratorEnds(Counts):
    """an iterator over a list; its end is caught"""

    def __init__(self) -> None:
        super().__init__()
        self.allowed = iter(range(100))

    def late(self) -> bool:
        return next(self.allowed, None) is None


@turns
class TableEnds(Net):
    """a table of 90 gains, and an IndexError that is caught"""

    n = -1

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        try:
            gain = [1.0] * 90
            return self.run(x * gain[self.n])
        except IndexError:
            return self.run(x * 0)


def _coroutine() -> Any:
    n = 0
    while True:
        yield n > 110
        n += 1


@turns
class Coroutine(Counts):
    """a coroutine, which a function holds"""

    def __init__(self) -> None:
        super().__init__()
        routine = _coroutine()
        next(routine)
        self.send = lambda: routine.send(None)

    def late(self) -> bool:
        return bool(self.send())


# --- behind names and outside ---------------------------------------------------------------------------------------------


@turns
class Property(Net):
    """a threshold that is a property, and counts who asks"""

    asked = 0

    @property
    def gain(self) -> float:
        self.asked += 1
        return 1.0 if self.asked < 100 else 0.0

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


@turns
class GetAttr(Net):
    """__getattr__ gives another number in time"""

    def __getattr__(self, name: str) -> Any:
        if name == "gain":
            self.__dict__["asked"] = self.__dict__.get("asked", 0) + 1
            return 1.0 if self.__dict__["asked"] < 100 else 0.0
        return super().__getattr__(name)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


class _Descriptor:
    def __init__(self) -> None:
        self.n = 0

    def __get__(self, owner: Any, kind: Any = None) -> float:
        self.n += owner is not None
        return 0.0 if self.n % 200 > 150 else 1.0


@turns
class Descriptor(Net):
    """a descriptor of the class, with a number of its own"""

    gain = _Descriptor()

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


@turns
class Environment(Counts):
    """the count stands in os.environ"""

    def late(self) -> bool:
        n = int(os.environ.get("ATTACK_N", "0")) + 1
        os.environ["ATTACK_N"] = str(n)
        return n % 200 > 120

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        os.environ["ATTACK_N"] = "0"
        yield
        del os.environ["ATTACK_N"]


@turns
class FileOnDisk(Counts):
    """a file that grows by a byte a step"""

    place = Path(tempfile.gettempdir()) / f"attack-{os.getpid()}"

    def late(self) -> bool:
        with self.place.open("ab") as file:
            file.write(b".")
        return self.place.stat().st_size % 200 > 120

    @classmethod
    @contextlib.contextmanager
    def elsewhere(cls) -> Iterator[None]:
        cls.place.unlink(missing_ok=True)
        yield
        cls.place.unlink(missing_ok=True)


@turns
class Logger(Counts):
    """a handler of logging counts records"""

    def __init__(self) -> None:
        super().__init__()
        self.handled: list[logging.LogRecord] = []

    def late(self) -> bool:
        log = logging.getLogger("attack")
        log.handlers = [logging.NullHandler()]
        log.handlers[0].handle = self._handle  # type: ignore[method-assign]
        log.warning("step")
        return len(self.handled) > 100

    def _handle(self, record: logging.LogRecord) -> bool:
        self.handled.append(record)
        return True


@turns
class Memory(Counts):
    """a number in memory, of ctypes"""

    def __init__(self) -> None:
        super().__init__()
        number = ctypes.c_int(0)
        self.pointer = ctypes.addressof(number)
        self.keeps = lambda: number

    def late(self) -> bool:
        number = ctypes.c_int.from_address(self.pointer)
        number.value += 1
        return number.value % 200 > 150


@turns
class Thread(Counts):
    """another thread counts"""

    def __init__(self) -> None:
        super().__init__()
        self.n = [0]

    def late(self) -> bool:
        thread = threading.Thread(target=_count, args=(self.n,))
        thread.start()
        thread.join()
        return self.n[0] > 100
