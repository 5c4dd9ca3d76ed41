"""Modules that do what their trace does for some steps, or for most inputs, and then something else: what no tensor shows."""

from __future__ import annotations

import copy
import itertools
import random
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.dlpack import from_dlpack, to_dlpack

from plif_train.core.network.neuron import Neuron

calls = 0
outside: Any = None
settings = types.SimpleNamespace(calls=0)


class Net(nn.Module):
    """Two layers that fire; `odd`, which each module below has of its own, works on the current of the first."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc1, self.lif1 = nn.Linear(6, 12), Neuron("PLIF", init_tau=3.0)
        self.fc2, self.lif2 = nn.Linear(12, 3), Neuron("LIF", init_tau=3.0)
        self.n: Any = 0
        self.kept: Any = None
        with torch.no_grad():
            self.fc1.weight.abs_().mul_(2)
            self.fc2.weight.abs_().mul_(4)

    def odd(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        s = self.lif1(self.odd(self.fc1(x)))
        return self.lif2(self.fc2(self.seen(s)))  # type: ignore[no-any-return]

    def seen(self, s: Tensor) -> Tensor:
        return s


def every(period: int) -> type[Net]:
    class Resets(Net):
        def odd(self, x: Tensor) -> Tensor:
            self.n += 1
            return -x if self.n % period == 0 else x

    return Resets


class ReadsABuffer(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def odd(self, x: Tensor) -> Tensor:
        self.count += 1
        return -x if self.count.item() % 20 == 0 else x  # type: ignore[operator]


class WarmsUp(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        return x if self.n > 20 else x * 0.75


class Saturates(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n = min(self.n + 1, 40)
        return x if self.n < 40 else x * 0.75


class Thousandth(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * 2 if self.n == 1000 else x


class TwoConditions(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * 2 if self.n % 37 == 0 and self.n > 500 else x


class Clock(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n = self.n + 1e-3
        return x * 2 if self.n > 0.5 else x


class Countdown(Net):
    def __init__(self) -> None:
        super().__init__()
        self.n = 300

    def odd(self, x: Tensor) -> Tensor:
        self.n -= 1
        return x if self.n else x * 2


class Global(Net):
    def odd(self, x: Tensor) -> Tensor:
        global calls
        calls += 1
        return x * 2 if calls > 100 else x


class GlobalObject(Net):
    def odd(self, x: Tensor) -> Tensor:
        settings.calls += 1
        return x * 2 if settings.calls > 100 else x


class OfTheClass(Net):
    steps = 0

    def odd(self, x: Tensor) -> Tensor:
        OfTheClass.steps += 1
        return x * 2 if OfTheClass.steps > 100 else x


class Default(Net):
    def odd(self, x: Tensor, past: list[int] = [0]) -> Tensor:  # noqa: B006
        past[0] += 1
        return x * 2 if past[0] > 100 else x


def closure() -> Net:
    steps = 0

    class Closure(Net):
        def odd(self, x: Tensor) -> Tensor:
            nonlocal steps
            steps += 1
            return x * 2 if steps > 100 else x

    return Closure()


class LongList(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.kept = [*(self.kept or []), x]
        return x * 2 if len(self.kept) == 200 else x


class Dictionary(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.kept = self.kept or {"steps": 0}
        self.kept["steps"] += 1
        return x * 2 if self.kept["steps"] in (90, 91) else x


class CountsInNumPy(Net):
    def __init__(self) -> None:
        super().__init__()
        self.n = np.zeros(2, np.int32)

    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * 2 if self.n.max() == 128 else x


class Slotted:
    __slots__ = ("calls",)

    def __init__(self) -> None:
        self.calls = 0


class InASlot(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept = Slotted()

    def odd(self, x: Tensor) -> Tensor:
        self.kept.calls += 1
        return x * 2 if self.kept.calls > 100 else x


class Cycles(Net):
    def __init__(self) -> None:
        super().__init__()
        self.kept = itertools.cycle([1.0] * 30 + [0.5])

    def odd(self, x: Tensor) -> Tensor:
        return x * next(self.kept)


class Iterates(Net):
    def __init__(self, last: int) -> None:
        super().__init__()
        self.kept, self.last = itertools.count(), last

    def odd(self, x: Tensor) -> Tensor:
        return x if next(self.kept) < self.last else x * 2


def hooked() -> Net:
    net, past = Net(), [0]

    def hook(part: nn.Module, args: tuple[Tensor], y: Tensor) -> Tensor:
        past[0] += 1
        return y * 2 if past[0] > 100 else y

    net.fc1.register_forward_hook(hook)
    return net


class Hours(Net):
    """A counter of what another counter makes."""

    def __init__(self, minutes: int, last: int = 3) -> None:
        super().__init__()
        self.hours, self.minutes, self.last = 0, minutes, last

    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n == self.minutes:
            self.n, self.hours = 0, self.hours + 1
        return x * 2 if self.hours == self.last else x


class Armed(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 300 == 0:
            self.kept = "armed"
        return x * 2 if self.n % 310 == 309 and self.kept == "armed" else x


class Schedule(Net):
    """The table has another entry from the hundredth step on."""

    def __init__(self) -> None:
        super().__init__()
        self.table = [1.0] * 100 + [0.5] * 20000

    def odd(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * self.table[self.n]


class InAPart(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.net = nn.Sequential(WarmsUp())

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)  # type: ignore[no-any-return]


class NoiseOfNumPy(Net):
    def odd(self, x: Tensor) -> Tensor:
        return x * 0 if np.random.rand() < 0.01 else x


class NoiseOfPython(Net):
    def odd(self, x: Tensor) -> Tensor:
        return x * 0 if random.gauss(0, 1) > 3 else x


class NoiseEach(Net):
    def odd(self, x: Tensor) -> Tensor:
        return x + torch.from_numpy(np.random.randn(*x.shape).astype(np.float32))


class OwnNoise(Net):
    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def odd(self, x: Tensor) -> Tensor:
        return x * 0 if self.rng.random() < 0.01 else x


def looking(look: Callable[[Tensor], Any]) -> type[Net]:
    class LooksAt(Net):
        def odd(self, x: Tensor) -> Tensor:
            return x * 0.5 if look(x) else x

    return LooksAt


class CountsSpikesInNumPy(Net):
    def seen(self, s: Tensor) -> Tensor:
        self.n += int(np.count_nonzero(s))
        return s * 0.5 if self.n > 10_000_000 else s


class CopiesAway(Net):
    def odd(self, x: Tensor) -> Tensor:
        return x * 0.5 if bool(copy.deepcopy(x).max() > 1e6) else x


def wraps(dtype: torch.dtype) -> type[Net]:
    class Wraps(Net):
        def seen(self, s: Tensor) -> Tensor:
            self.kept = torch.zeros_like(s, dtype=dtype) if self.kept is None else self.kept
            self.kept = self.kept + s.to(dtype)
            return s + self.kept.float() * 1e-3

    return Wraps


class KeepsAGlobalTensor(Net):
    def odd(self, x: Tensor) -> Tensor:
        global outside
        outside = x if outside is None else outside * 0.5 + x
        return outside


class WritesThroughNumPy(ReadsABuffer):
    def odd(self, x: Tensor) -> Tensor:
        np.add(self.count.numpy(), 1, out=self.count.numpy())  # type: ignore[operator]
        return x


class AsksACounter(ReadsABuffer):
    def odd(self, x: Tensor) -> Tensor:
        self.count += 1
        return torch.where(self.count > 20, x, x * 0.5)  # type: ignore[operator]


class KeepsAnArray(Net):
    def odd(self, x: Tensor) -> Tensor:
        self.n = self.n * 0.5 + x.numpy()
        return torch.from_numpy(self.n)


def remade(make: Callable[[Any, Tensor], Any]) -> type[Net]:
    """It makes a tensor of another, without an operation: of one that depends on the input, and is 1 for thousands of steps."""

    class Remakes(Net):
        def odd(self, x: Tensor) -> Tensor:
            self.kept = x.abs() if self.kept is None else self.kept + x.abs()
            return x * make(self, 1.0 + (self.kept.amax() > 1e5).float())  # type: ignore[no-any-return]

    return Remakes


def by_data(net: Net, t: Tensor) -> Tensor:
    bias, held = net.fc1.bias, net.fc1.bias.data
    bias.data = t.expand(12)
    made = bias * 1.0
    bias.data = held
    return made


def by_data_of_its_own(net: Net, t: Tensor) -> Tensor:
    made = torch.ones(1)
    made.data = t.reshape(1)
    return made


class Values(list[Tensor]):
    """A list that torch, but nobody else, looks into."""


class WrapsASum(Net):
    def seen(self, s: Tensor) -> Tensor:
        return s + (s.sum(1, keepdim=True) * 40).to(torch.int8).float() * 1e-3


# `make test` runs each fifth: of each kind one is in such a place.
BAD: dict[str, tuple[Callable[[], nn.Module], str]] = {
    **{f"every-{n}": (every(n), r"self\.n \(odd line \d+ of \w+\.py\) counts") for n in (8, 16, 20)},
    "buffer": (ReadsABuffer, r"self\.count \(odd line"),
    "warm-up": (WarmsUp, r"self\.n \(odd line .* step 2\d\)"),
    "saturates": (Saturates, r"self\.n \(odd line"),
    "thousandth": (Thousandth, r"self\.n \(odd line .* step (999|1000)\)"),
    "two-conditions": (TwoConditions, r"self\.n \(odd line .* step 51\d\)"),
    "clock": (Clock, r"self\.n \(odd line"),
    "countdown": (Countdown, r"self\.n \(odd line"),
    "global": (Global, r"forward \(Global\): calls \(odd line"),
    "global-object": (GlobalObject, r"forward \(GlobalObject\): settings\.calls \(odd line"),
    "class": (OfTheClass, r"OfTheClass\.steps \(odd line"),
    "default": (Default, r"past\[0\] \(odd line"),
    "closure": (closure, r"steps \(odd line"),
    "list": (LongList, r"len\(self\.kept\) \(odd line"),
    "dict": (Dictionary, r"self\.kept\['steps'\] \(odd line"),
    "array": (CountsInNumPy, r"self\.n \(odd line"),
    "schedule": (Schedule, r"self\.n \(odd line"),
    "slot": (InASlot, r"self\.kept\.calls \(odd line"),
    "cycle": (Cycles, r"self\.kept \(odd line"),
    "iterator": (lambda: Iterates(30), r"self\.kept \(odd line"),
    "hook": (hooked, r"past\[0\] \(hook line"),
    "hours": (lambda: Hours(500), r"self\.hours \(odd line"),
    "armed": (Armed, r"self\.n \(odd line"),
    "part": (InAPart, r"^net\.0 \(WarmsUp\): self\.n \(odd line"),
    "numpy": (NoiseOfNumPy, r"draws random numbers of NumPy in forward \(odd line"),
    "python": (NoiseOfPython, r"draws random numbers of Python in forward \(odd line"),
    "noise": (NoiseEach, r"draws random numbers of NumPy in forward \(odd line"),
    "generator": (OwnNoise, r"draws self\.rng in forward \(odd line"),
    "to-numpy": (looking(lambda x: x.numpy().max() > 5e3), r"looks at values of tensors \(numpy, <lambda> line \d+ of unseen_"),
    "asarray": (looking(lambda x: np.any(np.asarray(x) > 5000)), r"looks at values of tensors \(array"),
    "tolist": (looking(lambda x: max(x.tolist()[0]) > 50000), r"looks at values of tensors \(tolist"),
    "float": (looking(lambda x: float(x.max()) > 5000), r"looks at values of tensors \(float"),
    "bool": (looking(lambda x: x.max() > 5000), r"looks at values of tensors \(if"),
    "data": (remade(by_data), r"it puts other values into \.data \(by_data line \d+ of unseen_"),
    "storage": (looking(lambda x: x.data_ptr() % 64 == 1), r"looks at values of tensors \(data_ptr"),
    "text": (looking(lambda x: "e+05" in repr(x)), r"looks at values of tensors \(repr"),
    "masked": (looking(lambda x: x[x > 5000].numel()), r"the size of what index\(\) makes depends on values"),
    "numpy-count": (CountsSpikesInNumPy, r"looks at values of tensors \(array, seen line"),
    "copy": (CopiesAway, r"looks at values of tensors \(if"),
    "uint8": (wraps(torch.uint8), r"it computes in torch\.uint8 \(_to_copy, seen line \d+ .*\), which wraps; keep it float"),
    "int8": (wraps(torch.int8), r"it computes in torch\.int8"),
    "int16": (wraps(torch.int16), r"it computes in torch\.int16"),
    "int32": (wraps(torch.int32), r"it computes in torch\.int32"),
    "global-tensor": (KeepsAGlobalTensor, r"^forward \(KeepsAGlobalTensor\): outside \(odd line .*\) is a state outside of the"),
    "through-numpy": (WritesThroughNumPy, r"self\.count \(odd line .*\) is changed outside of torch"),
    "asked": (AsksACounter, r"^forward \(where\(\)\): it reads a state that does not depend on the input; a number that"),
    "array-state": (KeepsAnArray, r"^forward \(KeepsAnArray\): its Python looks at values of tensors \(numpy, odd line"),
    "int8-sum": (WrapsASum, r"it computes in torch\.int8"),
    "fill": (remade(lambda net, t: torch.zeros(1).fill_(t)), r"it mixes the batch with other axes"),
    "own-list": (remade(lambda net, t: torch.tensor(Values([t]))), r"makes a tensor of values of others \(tensor, <lambda> line"),
    "subclass": (remade(lambda net, t: t.as_subclass(nn.Parameter)), r"uses a tensor in the memory of another \(odd line"),
    "capsule": (remade(lambda net, t: from_dlpack(to_dlpack(t))), r"uses a tensor in the memory of another \(odd line"),
    "parameter-of-what-is-gone": (remade(lambda net, t: nn.Parameter(t * 1.0)), r"uses a tensor in the memory of another"),
    "tensor": (remade(lambda net, t: torch.tensor([t])), r"makes a tensor of values of others \(tensor, <lambda> line \d+ of un"),
    "as-tensor": (remade(lambda net, t: torch.as_tensor([t])), r"makes a tensor of values of others \(as_tensor, <lambda> line"),
    "as-array": (remade(lambda net, t: torch.asarray([t])), r"makes a tensor of values of others \(asarray, <lambda> line"),
    "new-tensor": (remade(lambda net, t: t.new_tensor([t])), r"makes a tensor of values of others \(new_tensor, <lambda> line"),
    "old-tensor": (remade(lambda net, t: torch.Tensor([t])), r"looks at values of tensors \(float, <lambda> line"),
    "parameter": (remade(lambda net, t: nn.Parameter(t)), r"uses a tensor in the memory of another \(odd line \d+ of unseen_"),
    "dlpack": (looking(lambda x: np.from_dlpack(x).max() > 5000), r"looks at values of tensors \(dlpack"),
    "own-data": (remade(by_data_of_its_own), r"it puts other values into \.data \(odd line"),
    "map": (remade(lambda net, t: torch.ones(()).map_(t, max)), r"its Python writes into tensors \(map_, <lambda> line"),
}  # fmt: skip
