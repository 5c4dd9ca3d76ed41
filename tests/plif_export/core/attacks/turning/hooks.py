"""Methods, classes, layers and hooks that change; parametrizations, checkpoints, vmap. Drawn from outside."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils import checkpoint

from tests.plif_export.core.attacks.modules import Lif, Net, turns


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
