"""Counters in attributes of a module: it does something else in a later step. Drawn from outside."""

from __future__ import annotations

import array
import types
from collections import deque

import numpy as np
import torch
from torch import Tensor

from tests.plif_export.core.attacks.modules import Net, turns


class Counts(Net):
    """`late` is asked once a step; from then on the input is not seen."""

    def late(self) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.late() else x)


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
