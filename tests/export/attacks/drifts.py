"""What changes in the module itself: weights, buffers, hooks, methods, random generators. Drawn from outside."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import checkpoint

from tests.export.attacks.modules import IN, Lif, Net, turns

# --- tensors that no input moves ------------------------------------------------------------------------------------------


class Buffered(Net):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros((), dtype=torch.int64))


@turns
class BufferItem(Buffered):
    """a buffer that is read with .item()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n.item() > 100 else x)


@turns
class BufferInt(Buffered):
    """a buffer that is read with int()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if int(self.n) % 100 > 80 else x)


@turns
class BufferNumpy(Buffered):
    """a buffer that is read with .numpy()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n.numpy() > 100 else x)


@turns
class BufferToList(Buffered):
    """a buffer that is read with .tolist()"""

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n.tolist() > 100 else x)


@turns
class BufferWhere(Net):
    """a buffer of float that torch.where compares: it may be exported, where its count is exported, too"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("n", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        return self.run(torch.where(self.n > 100, x * 0, x))


@turns
class BufferOfInt64Where(Buffered):
    """the same with a whole number"""

    def forward(self, x: Tensor) -> Tensor:
        self.n = self.n + 1
        return self.run(torch.where(self.n > 100, x * 0, x))


@turns
class BufferInPlace(Net):
    """a count that is added in place, once a row"""

    def __init__(self) -> None:
        super().__init__()
        self.n = torch.zeros(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.n.add_(1)
        return self.run(x * (self.n < 100).float())


@turns
class Table(Buffered):
    """a count that is the index of a table"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gains", torch.tensor([1.0] * 80 + [0.0]))

    def forward(self, x: Tensor) -> Tensor:
        self.n = (self.n + 1) % 81
        return self.run(x * self.gains[self.n])


@turns
class Oscillator(Net):
    """a phase that turns, and a gain that is its cosine"""

    def __init__(self) -> None:
        super().__init__()
        self.phase = torch.zeros(1, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.phase = self.phase + 0.0625
        return self.run(x * (torch.cos(self.phase) > -0.9).float())


@turns
class ShapeGrows(Net):
    """a tensor that is one longer in each step"""

    def __init__(self) -> None:
        super().__init__()
        self.log = torch.zeros(0)

    def forward(self, x: Tensor) -> Tensor:
        self.log = torch.cat([self.log, torch.zeros(1)])
        return self.run(x * 0 if len(self.log) > 90 else x)


@turns
class OffsetMoves(Net):
    """a view that moves on in its storage"""

    def __init__(self) -> None:
        super().__init__()
        self.at = torch.ones(200)

    def forward(self, x: Tensor) -> Tensor:
        self.at = self.at[1:]
        return self.run(x * 0 if self.at.storage_offset() > 90 else x)


@turns
class TypeChanges(Net):
    """a gain that is half precision after 80 steps"""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gain", torch.full((), 0.3))
        self.left = 80

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.gain = (self.gain * 0.5).half()
        return self.run(x * self.gain.float() * 4)


# --- weights and constants that move --------------------------------------------------------------------------------------


@turns
class WeightFades(Net):
    """a weight that is 0.1 % smaller in each step"""

    def forward(self, x: Tensor) -> Tensor:
        self.fc1.weight.data.mul_(0.999)
        return self.run(x)


@turns
class WeightFadesRarely(Net):
    """a weight that halves each 100th step"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        if self.n % 100 == 0:
            self.fc1.weight.data.mul_(0.5)
        return self.run(x)


@turns
class Learns(Net):
    """Hebb's rule: what fires together is wired together"""

    def forward(self, x: Tensor) -> Tensor:
        s = self.lif1(self.fc1(x))
        y = self.lif2(self.fc2(s))
        self.fc2.weight.data.add_(y.mean(0)[:, None] * s.mean(0)[None] / 64)
        return y  # type: ignore[no-any-return]


@turns
class ThresholdDrifts(Net):
    """a Python float that grows by a part in a thousand"""

    def forward(self, x: Tensor) -> Tensor:
        self.lif1.threshold = self.lif1.threshold * 1.001
        return self.run(x)


@turns
class DecayOfALayerIsSet(Net):
    """the decay of a layer is set at the 70th step"""

    left = 70

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.lif2.decay = 0.9375
        return self.run(x)


@turns
class WeightIsReplaced(Net):
    """other weights after 80 steps, from a list"""

    def __init__(self) -> None:
        super().__init__()
        self.later = [self.fc2.weight.data.flip(0)] + [self.fc2.weight.data] * 80

    def forward(self, x: Tensor) -> Tensor:
        self.fc2.weight.data = self.later.pop() if self.later else self.fc2.weight.data
        return self.run(x)


@turns
class BatchNormLearns(Net):
    """running statistics that move in evaluation, too"""

    rows = 2

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(IN)

    def forward(self, x: Tensor) -> Tensor:
        self.norm.training = x.shape[0] > 1
        return self.run(self.norm(x))


# --- methods, classes, hooks ----------------------------------------------------------------------------------------------


@turns
class MethodIsReplaced(Net):
    """forward itself is another function after 90 steps"""

    left = 90

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.forward = self._later  # type: ignore[method-assign]
        return self.run(x)

    def _later(self, x: Tensor) -> Tensor:
        return self.run(x * 0)


class _Later(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.run(x).flip(-1)


@turns
class ClassIsReplaced(Net):
    """the module becomes another class after 90 steps"""

    left = 90

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.__class__ = _Later  # type: ignore[assignment]
        return self.run(x)


@turns
class LayerIsReplaced(Net):
    """a new neuron after 66 steps"""

    left = 66

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.lif1 = Lif()
            self.lif1.threshold = 2.0
        return self.run(x)


@turns
class LayersGrow(Net):
    """a ModuleList that has one more layer in each step"""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.ModuleList()

    def forward(self, x: Tensor) -> Tensor:
        self.more.append(nn.Identity())
        return self.run(x if len(self.more) < 90 else x * 0)


class _Hook:
    def __init__(self) -> None:
        self.n = 0

    def __call__(self, module: nn.Module, inputs: Any, output: Any = None) -> Any:
        self.n += 1
        found = inputs[0] if output is None else output
        return found * 0 if self.n > 100 else found


@turns
class PreHook(Net):
    """a forward_pre_hook of a layer, which counts"""

    def __init__(self) -> None:
        super().__init__()
        self.fc2.register_forward_pre_hook(_Hook())


@turns
class Hook(Net):
    """a forward_hook of a neuron, which counts"""

    def __init__(self) -> None:
        super().__init__()
        self.lif1.register_forward_hook(_Hook())


@turns
class HookComesLater(Net):
    """a hook that forward registers in its 70th step"""

    left = 70

    def forward(self, x: Tensor) -> Tensor:
        self.left -= 1
        if self.left == 0:
            self.fc1.register_forward_hook(lambda module, inputs, output: output * 0)
        return self.run(x)


class _Fades(nn.Module):
    n = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.n += 1
        return weight if self.n < 150 else weight * 0


@turns
class Parametrized(Net):
    """a parametrization that counts"""

    def __init__(self) -> None:
        super().__init__()
        parametrize.register_parametrization(self.fc1, "weight", _Fades())


class _Function(torch.autograd.Function):
    n = 0

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        _Function.n += 1
        return x * 0 if _Function.n % 200 > 120 else x * 1

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


@turns
class AutogradFunction(Net):
    """a function of autograd that counts in its class"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(_Function.apply(x))  # type: ignore[no-any-return]


@turns
class Checkpoint(Net):
    """a checkpoint whose function counts"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint.checkpoint(self._part, x, use_reentrant=False)  # type: ignore[no-any-return]

    def _part(self, x: Tensor) -> Tensor:
        self.n += 1
        return self.run(x * 0 if self.n > 100 else x)


@turns
class Vmap(Net):
    """a function under vmap that counts"""

    n = 0

    def forward(self, x: Tensor) -> Tensor:
        return self.run(torch.func.vmap(self._part)(x))

    def _part(self, x: Tensor) -> Tensor:
        self.n += 1
        return x * 0 if self.n > 100 else x * 1


# --- random numbers -------------------------------------------------------------------------------------------------------


@turns
class PythonRandom(Net):
    """Python's random numbers, in 1 % of the steps"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if random.random() < 0.01 else x)


@turns
class NumpyRandom(Net):
    """NumPy's random numbers, in 1 % of the steps"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if np.random.rand() < 0.01 else x)


@turns
class OwnPythonRandom(Net):
    """a generator of its own, with a seed: the same in each run, and no step is like the last"""

    def __init__(self) -> None:
        super().__init__()
        self.random = random.Random(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.random.random() < 0.02 else x)


@turns
class OwnNumpyRandom(Net):
    """NumPy's Generator, with a seed"""

    def __init__(self) -> None:
        super().__init__()
        self.random = np.random.default_rng(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.random.random() < 0.02 else x)


@turns
class TorchRandom(Net):
    """torch.rand, on the input"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * (torch.rand(IN) > 0.01).float())


@turns
class OwnTorchRandom(Net):
    """a torch.Generator of its own, for the numbers of a dropout"""

    def __init__(self) -> None:
        super().__init__()
        self.random = torch.Generator().manual_seed(4)

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.ones(IN)
        return self.run(x * keep.bernoulli_(0.99, generator=self.random))


@turns
class Seed(Net):
    """the seed of PyTorch as a counter"""

    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed((torch.initial_seed() + 1) % 200)
        return self.run(x * 0 if torch.initial_seed() > 120 else x)


@turns
class LinearFeedback(Net):
    """a shift register: pseudo-random, in an int"""

    bits = 0xACE1

    def forward(self, x: Tensor) -> Tensor:
        bit = (self.bits ^ self.bits >> 2 ^ self.bits >> 3 ^ self.bits >> 5) & 1
        self.bits = self.bits >> 1 | bit << 15
        return self.run(x * 0 if self.bits % 50 == 0 else x)


@turns
class Dropout(Net):
    """a dropout that stays in training mode, of 1 %"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(torch.nn.functional.dropout(x, 0.01, training=True))
