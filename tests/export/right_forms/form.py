"""What a form is: a module, the shapes of its inputs, and the frames that it is run on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

STEPS = 60
ROWS = (1, 3, 9)
DENSITY = 0.08  # the share of pixels of a frame that counted an event
EMPTY = 0.15  # the share of frames without any

Hand = Literal["tensor", "tensors", "dict"]
Kind = Literal["spikes", "values"]


@dataclass(frozen=True)
class Form:
    """One module as people write it, and how its forward is called."""

    name: str
    build: Callable[[], nn.Module]
    inputs: Mapping[str, tuple[int, ...]]  # name: shape of one step of one row
    outputs: Mapping[str, Kind]  # in the order in which forward returns them
    hand: Hand = "tensor"  # how forward takes its inputs
    loop: bool = False  # forward takes [T, B, ...] and returns [T, B, ...]
    before: Callable[[nn.Module], None] | None = None  # what the module did before its export

    @property
    def sentence(self) -> str:
        return (getattr(self.build, "__doc__", None) or "").strip().splitlines()[0]

    def module(self) -> nn.Module:
        """Build a module with the same weights each time, ready for inference."""
        torch.manual_seed(len(self.name) * 7919 + sum(map(ord, self.name)))
        module = self.build()
        tidy(module)
        return module.eval()

    def frames(self, rows: int) -> dict[str, np.ndarray]:
        """Make sparse counts 0..255, [STEPS, rows, ...] for each input, the same each time."""
        numbers = np.random.default_rng(1000 + rows)
        frames = {}
        for name, shape in self.inputs.items():
            size = (STEPS, rows, *shape)
            counts = np.minimum(np.ceil(numbers.exponential(40.0, size)), 255)
            counts[numbers.random(size) < 0.002] = 255  # a hot pixel
            counts *= numbers.random(size) < DENSITY
            counts *= numbers.random((STEPS, rows, *[1] * len(shape))) >= EMPTY
            frames[name] = counts.astype(np.float32)
        return frames

    def arguments(self, step: Mapping[str, torch.Tensor]) -> tuple[Any, ...]:
        """Put named inputs into the arguments of forward."""
        return (dict(step),) if self.hand == "dict" else tuple(step.values())


def tidy(module: nn.Module) -> None:
    """Round weights to multiples of 1/64: sums of counts are then exact in any order."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() >= 2:
                parameter.copy_((parameter * 64).round() / 64)


def excite(layer: nn.Linear | nn.Conv2d, gain: float = 1.0) -> nn.Linear | nn.Conv2d:
    """Give a layer the weights of a trained one: its neurons fire, and some inhibit."""
    fan = math.prod(layer.weight.shape[1:])
    with torch.no_grad():
        nn.init.normal_(layer.weight, 0.4 * gain / math.sqrt(fan), gain / math.sqrt(fan))
        if layer.bias is not None:
            layer.bias.copy_((layer.bias * 64).round() / 64)
    return layer
