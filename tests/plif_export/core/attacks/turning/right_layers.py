"""More modules that look dangerous and do the same in every step: neurons, layers, loops."""

from __future__ import annotations

import contextlib
import contextvars
import itertools
import logging
import math
import os
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from tests.plif_export.core.attacks.modules import HIDDEN, IN, Lif, Net, scripted, stays


class _Surrogate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return (x >= 0).float()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad / (1 + x * x)


class _LifOfSurrogate(Lif):
    def forward(self, x: Tensor) -> Tensor:
        self.v = (0.0 if self.v is None else self.v) * self.decay + x
        s: Tensor = _Surrogate.apply(self.v - self.threshold)
        self.v = self.v - s * self.threshold
        return s


@stays
class Surrogate(Net):
    """a surrogate gradient of its own"""

    def __init__(self) -> None:
        super().__init__()
        self.lif1 = _LifOfSurrogate()


@stays
class WeightNorm(Net):
    """weight_norm, a parametrization that does the same each time"""

    def __init__(self) -> None:
        super().__init__()
        parametrizations.weight_norm(self.fc1)


class _Double(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2


@stays
class Parametrization(Net):
    """a parametrization of its own"""

    def __init__(self) -> None:
        super().__init__()
        parametrize.register_parametrization(self.fc2, "weight", _Double())


@stays
class SpectralNorm(Net):
    """spectral_norm, whose iteration rests after training"""

    def __init__(self) -> None:
        super().__init__()
        parametrizations.spectral_norm(self.fc1)


@stays
class BatchNorm(Net):
    """a batch normalisation after training"""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(HIDDEN)
        self.norm.running_mean = torch.arange(HIDDEN) / 16

    def forward(self, x: Tensor) -> Tensor:
        return self.lif2(self.fc2(self.lif1(self.norm(self.fc1(x)))))  # type: ignore[no-any-return]


@stays
class InPlace(Net):
    """a relu_ and an add_ on what was made here"""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1
        x.add_(1).relu_()
        return self.run(x)


@stays
class Asserts(Net):
    """assertions about shapes and types"""

    def forward(self, x: Tensor) -> Tensor:
        assert x.dim() == 2 and x.shape[1] == IN, x.shape
        if x.dtype != torch.float32:
            raise TypeError(x.dtype)
        return self.run(x)


@stays
class NumpyConstants(Net):
    """NumPy for numbers that are none of tensors"""

    def forward(self, x: Tensor) -> Tensor:
        gain = float(np.sqrt(4)) * math.cos(0.0) / 2
        return self.run(x * gain * torch.from_numpy(np.ones(IN, np.float32)))


@stays
class TriesAnImport(Net):
    """an import that fails, in forward"""

    def forward(self, x: Tensor) -> Tensor:
        with contextlib.suppress(ImportError):
            import a_library_that_is_not_there  # type: ignore[import-not-found]  # noqa: F401
        return self.run(x)


@stays
class Iterates(Net):
    """generators and iterators that end where they began"""

    def forward(self, x: Tensor) -> Tensor:
        for gain, layer in zip(itertools.repeat(1.0), (layer for layer in (self.fc1, self.lif1)), strict=False):
            x = layer(x * gain)
        return self.lif2(self.fc2(x))  # type: ignore[no-any-return]


@stays
class PropertyOfAThreshold(Net):
    """a property that computes, and __getattr__ of nn.Module"""

    @property
    def gain(self) -> float:
        return float(self.fc1.out_features) / HIDDEN

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


@stays
class StateInADict(Net):
    """a membrane that stands in a dict of a list"""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[dict[str, Any]] = [{"v": None}]

    def forward(self, x: Tensor) -> Tensor:
        v = self.states[0]["v"]
        v = (torch.zeros_like(x) if v is None else v) * 0.5 + x
        self.states[0]["v"] = v
        return self.run(v)


@stays
class NewBatchResets(Net):
    """a membrane that begins anew where the batch is another"""

    v: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None or self.v.shape != x.shape:
            self.v = torch.zeros_like(x)
        self.v = self.v * 0.5 + x
        return self.run(self.v)


_DEBUG = contextvars.ContextVar("debug", default=False)


@stays
class ContextFlag(Net):
    """a context variable that is off"""

    def forward(self, x: Tensor) -> Tensor:
        if _DEBUG.get():
            print(x.shape)
        return self.run(x)


@stays
class LockAndThread(Net):
    """a lock of the module, as where several threads use it"""

    lock = threading.Lock()

    def forward(self, x: Tensor) -> Tensor:
        with self.lock:
            return self.run(x)


@stays
class DefaultList(Net):
    """a list as a default argument, which is only read"""

    def forward(self, x: Tensor, gains: list[float] = [1.0, 2.0]) -> Tensor:  # noqa: B006
        return self.run(x * gains[0] * gains[1])


@stays
class AdaptiveThreshold(Net):
    """a threshold of each row, which its own spikes raise"""

    def __init__(self) -> None:
        super().__init__()
        self.lif1 = _Adaptive()


class _Adaptive(Lif):
    a: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None:
            self.v, self.a = torch.zeros_like(x), torch.zeros_like(x)
        self.v = self.v * self.decay + x
        s = (self.v >= 1 + self.a).float()
        self.v, self.a = self.v * (1 - s), self.a * 0.75 + s * 0.25
        return s


@stays
class ScriptedFunction(Net):
    """a function of TorchScript without a branch"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(_scaled(x))


@scripted
def _scaled(x):  # type: ignore[no-untyped-def]
    return x * 0.5 + 1


@stays
class ProfilerMark(Net):
    """record_function, for a profile"""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autograd.profiler.record_function("step"):
            return self.run(x)


@stays
class EnvironmentAtTheBeginning(Net):
    """the environment is asked when the module is made"""

    def __init__(self) -> None:
        super().__init__()
        self.gain = float(os.environ.get("RIGHT_GAIN", "2"))

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain)


@stays
class SharedLayer(Net):
    """a layer that is used twice"""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(IN, IN, bias=False)
        nn.init.eye_(self.mix.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.mix(self.mix(x)))


@stays
class CountOfSpikes(Net):
    """a count of its own spikes that quiets a neuron: a state, as a tensor"""

    n: Any = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.run(x)
        self.n = y if self.n is None else self.n * 0.5 + y
        return y * (self.n < 1.5).float()


@stays
class SaysItsNumber(Net):
    """a global that numbers modules when they are made"""

    made = itertools.count()

    def __init__(self) -> None:
        super().__init__()
        self.number = next(self.made)


class _Loop(Net):
    sequence, steps = 20, 120

    def forward(self, x: Tensor) -> Tensor:
        self.forget()
        return torch.stack([self.run(frame) for frame in x])


@stays
class PlainLoop(_Loop):
    """a loop over T"""


@stays
class LoopThatLogs(_Loop):
    """a loop over T whose counter is read for a log"""

    seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.forget()
        outputs = []
        for t, frame in enumerate(x):
            self.seen += 1
            if t % 10 == 9:
                logging.getLogger("right").debug("step %d of %d", t, self.seen)
            outputs.append(self.run(frame))
        return torch.stack(outputs)


@stays
class LoopInChunks(_Loop):
    """a loop over T in chunks of seven, which hand their membranes on"""

    def forward(self, x: Tensor) -> Tensor:
        self.forget()
        return torch.cat([torch.stack([self.run(frame) for frame in chunk]) for chunk in x.split(7)])
