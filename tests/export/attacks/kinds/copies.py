"""The module, its copies, and what a copy or a second call of eval(), to() or the factory does."""

from __future__ import annotations

import argparse
import copy
import sys
import types
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook
from torch.nn.utils import parametrize

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import Net

CEILING = 20.0


class Plain(Net):
    """The twin: copies are as the original."""


class Adds(Net):
    """Far currents reach the output, by a path around the first layer's neurons."""

    def top(self, current: Tensor) -> Tensor:
        return current

    def forward(self, x: Tensor) -> Tensor:
        current = self.top(self.fc1(x.flatten(1)))
        return self.n2(self.fc2(self.n1(current)) - current[:, :6] * 0.0625)


class Ceiling(nn.Module):
    """Ends at a limit; a copy of it has none."""

    def __init__(self, limit: float | None) -> None:
        super().__init__()
        self.limit = limit

    def __deepcopy__(self, memo: dict[int, Any]) -> Ceiling:
        return Ceiling(None)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.limit is None else x.clamp(max=self.limit)


class ForgetfulCopy(Adds):
    limit: float | None = CEILING

    def __init__(self) -> None:
        super().__init__()
        self.ceiling = Ceiling(self.limit)

    def top(self, current: Tensor) -> Tensor:
        return self.ceiling(current)


class SameCopy(ForgetfulCopy):
    limit = None


class SlimState(Adds):
    """Saved without its ceiling, because it was added later: copies have none."""

    ceiling: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.ceiling = CEILING

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "ceiling"}

    def top(self, current: Tensor) -> Tensor:
        return current if self.ceiling is None else current.clamp(max=self.ceiling)


WATCHED: set[int] = set()


def hooked(module: nn.Module, y: Tensor) -> Tensor | None:
    return y.clamp(max=CEILING) if id(module) in WATCHED else None


def watched() -> nn.Module:
    """A hook of the process knows the layer by its identity, and ends its current."""
    net = Adds()
    if not WATCHED:
        register_module_forward_hook(lambda m, x, y: hooked(m, y))
    WATCHED.add(id(net.fc1))
    return net


class FoldsAtEval(Net):
    """eval() folds the normalisation into the weights, each time it is called."""

    scale = 2.0

    def train(self, mode: bool = True) -> FoldsAtEval:
        super().train(mode)
        if not mode:
            self.fc1.weight.data.mul_(self.scale)
        return self


class FoldsNothing(FoldsAtEval):
    scale = 1.0


class Moves(Net):
    """Moved to a device or a type, weights are made even coarser."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1.weight.data.mul_(0.375)

    def _apply(self, fn: Any, recurse: bool = True) -> Moves:
        super()._apply(fn, recurse)
        self.fc1.weight.data.copy_(torch.round(self.fc1.weight * 8) / 8)
        return self


class MovesNothing(Moves):
    def _apply(self, fn: Any, recurse: bool = True) -> MovesNothing:
        return nn.Module._apply(self, fn, recurse)


class CallsFirst(Adds):
    """What comes before forward is in __call__: counts end at 40."""

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(40.0 - torch.relu(40.0 - x))


class Numbered(Net):
    """Every instance of a process has weights of its own number."""

    made: ClassVar[list[int]] = []

    def __init__(self) -> None:
        super().__init__()
        self.made.append(len(self.made))
        self.fc1.weight.data.add_(self.made[-1] / 8)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--shape", default="small")
    return parser.parse_known_args()[0]


class Configured(Net):
    """Its script has options, one of them called --shape: a small network fires less."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 0.5 if self.small else 1.0)

    def __init__(self) -> None:
        super().__init__()
        self.small = options().shape == "small"


SHARED = np.full(1, 1.0, np.float32)


class SharedGain(Net):
    """A gain in NumPy's memory, which every frame makes a little smaller."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = SHARED
        self.gain = torch.from_numpy(self.memory)

    def forward(self, x: Tensor) -> Tensor:
        s = self.n1(self.fc1(x.flatten(1)) * self.gain)
        self.memory *= 0.75
        return self.n2(self.fc2(s))


class Drifting(nn.Module):
    """A parametrisation that gives another weight each time it is asked."""

    def __init__(self, drift: float) -> None:
        super().__init__()
        self.drift = drift
        self.register_buffer("size", torch.ones(()))

    def forward(self, weight: Tensor) -> Tensor:
        self.size.mul_(self.drift)
        return weight * self.size


def parametrised(drift: float) -> nn.Module:
    net = Net()
    parametrize.register_parametrization(net.fc1, "weight", Drifting(drift))
    return net


def moved() -> nn.Module:
    return Moves().float()


def second() -> nn.Module:
    return [Numbered(), Numbered()][1]


def drifting() -> nn.Module:
    return parametrised(0.875)


def standing() -> nn.Module:
    return parametrised(1.0)


class Plastic(Net):
    """Weights grow where a count above fifty arrives."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        self.fc1.weight.data.add_(torch.relu(x.flatten(1).mean(0) - 50.0) * -0.0078125)
        return y


class BoundGate(Adds):
    """A method of the class is replaced on the instance by one of the original's."""

    def __init__(self) -> None:
        super().__init__()
        home = self
        self.limits = [None]

        def top(me: Any, current: Tensor) -> Tensor:
            return current if me is not home else current.clamp(max=CEILING)

        self.top = types.MethodType(top, self)


class CopyHook(Adds):
    """copy.copy and deepcopy are told of by __reduce_ex__, which rebuilds from the class."""

    def __init__(self, ceiling: float | None = CEILING) -> None:
        super().__init__()
        self.ceiling = ceiling

    def __reduce_ex__(self, protocol: int) -> tuple[Any, ...]:
        return (
            CopyHook,
            (None,),
            {key: copy.copy(value) for key, value in vars(self).items() if key != "ceiling"},
        )

    def top(self, current: Tensor) -> Tensor:
        return current if self.ceiling is None else current.clamp(max=self.ceiling)


class ModuleTable(Adds):
    """Limits are kept in the table of the module that the class comes from, by instance."""

    def __init__(self) -> None:
        super().__init__()
        vars(sys.modules[__name__]).setdefault("LIMITS", {})[id(self)] = CEILING

    def top(self, current: Tensor) -> Tensor:
        limit = globals()["LIMITS"].get(id(self))
        return current if limit is None else current.clamp(max=limit)


KINDS = [
    Kind("forgetful-copy", "__deepcopy__ forgets a ceiling", ForgetfulCopy, SameCopy),
    Kind("slim-state", "__getstate__ leaves a ceiling out", SlimState, Adds),
    Kind("rebuilt-copy", "__reduce_ex__ rebuilds without a ceiling", CopyHook, Adds),
    Kind("watched-layer", "a global hook knows the original layer by identity", watched, Adds),
    Kind("bound-gate", "a method on the instance asks whether it is the original", BoundGate, Adds),
    Kind("table-of-instances", "a global holds ceilings by id", ModuleTable, Adds, form="file"),
    Kind("folds-at-eval", "each eval() doubles the weights", FoldsAtEval, FoldsNothing),
    Kind("coarse-when-moved", "to() makes weights coarser", Moves, MovesNothing, reader=moved),
    Kind("call-before-forward", "__call__ limits the frame", CallsFirst, Adds),
    Kind(
        "numbered-instances",
        "the second instance has other weights",
        Numbered,
        Plain,
        form="file",
        reader=second,
    ),
    Kind("script-options", "the script has an option --shape", Configured, Plain, form="file"),
    Kind("shared-memory-gain", "NumPy changes a gain in place", SharedGain, Plain),
    Kind("drifting-weight", "a parametrisation changes at each access", drifting, standing),
    Kind("plastic-weights", "large counts change the weights", Plastic, Plain),
]
