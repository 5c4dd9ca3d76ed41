"""Counters in functions, classes, iterators and modules of Python. Drawn from outside."""

from __future__ import annotations

import contextvars
import functools
import itertools
import threading
import weakref
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from tests.plif_export.core.attacks.modules import Net, turns
from tests.plif_export.core.attacks.turning.attributes import Counts


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
    def tidy(cls) -> None:
        vars(itertools).pop("steps", None)


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
        self.step = functools.partial(count, [0])

    def late(self) -> bool:
        return self.step() > 100


def count(n: list[int]) -> int:
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


# --- in iterators --------------------------------------------------------------------------------------------------------


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
