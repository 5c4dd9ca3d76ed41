"""Layers that the kinds share. All weights are sixteenths, so that sums of counts are exact."""

from __future__ import annotations

import torch
from torch import Tensor, nn

PIXELS = 32


def linear(inputs: int, outputs: int, seed: int, low: int = -3, high: int = 5) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        layer.weight.copy_(torch.randint(low, high + 1, (outputs, inputs), generator=draw) / 16)
    return layer


class Lif(nn.Module):
    """A neuron that halves its membrane in a step, and is set to zero by a spike."""

    def __init__(self, decay: float = 0.5) -> None:
        super().__init__()
        self.decay, self.v = decay, 0.0

    def reset(self) -> None:
        self.v = 0.0

    def forward(self, x: Tensor) -> Tensor:
        h = self.v * self.decay + x
        s = (h >= 1.0).to(x.dtype)
        self.v = h * (1.0 - s)
        return s


class Net(nn.Module):
    """Two layers of neurons, one step a call."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.n1 = linear(PIXELS, 24, seed=1), Lif()
        self.fc2, self.n2 = linear(24, 6, seed=2), Lif()

    def reset(self) -> None:
        self.n1.reset()
        self.n2.reset()

    def body(self, x: Tensor, gain: float = 1.0) -> Tensor:
        s = self.n1(self.fc1(x.flatten(1)) * gain)
        return self.n2(self.fc2(s))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)
