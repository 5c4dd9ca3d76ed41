"""Forms whose forward takes all steps, [T, B, ...], and loops over them."""

from __future__ import annotations

import torch
from torch import nn

from tests.export.right_forms.form import Form, excite
from tests.export.right_forms.neurons import ATan


class ScalesByVariance(nn.Module):
    """Currents are normalised by statistics, with the division computed in forward."""

    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = excite(nn.Linear(24, 12)), excite(nn.Linear(12, 10), 1.5)
        self.eps = 1e-5
        self.register_buffer("running_mean", torch.linspace(-2.0, 4.0, 12))
        self.register_buffer("running_var", torch.linspace(20.0, 300.0, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v1, v2 = torch.zeros(x.shape[1], 12), torch.zeros(x.shape[1], 10)
        out = []
        for t in range(x.shape[0]):
            y = self.fc1(x[t]) - self.running_mean
            y = y * (1 / torch.sqrt(self.running_var + self.eps))
            v1 = 0.75 * v1 + y
            s = (v1 >= 1.0).float()
            v1 = v1 - s
            v2 = 0.75 * v2 + self.fc2(s)
            s = (v2 >= 1.0).float()
            v2 = v2 - s
            out.append(s)
        return torch.stack(out)


class CountsSpikes(nn.Module):
    """The rate of spikes of each layer is summed over the steps, and nothing reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = excite(nn.Linear(24, 12)), excite(nn.Linear(12, 10), 1.5)
        self.rates: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        v1, v2 = torch.zeros(x.shape[1], 12), torch.zeros(x.shape[1], 10)
        rate1 = rate2 = torch.zeros(())
        out = []
        for t in range(x.shape[0]):
            v1 = 0.875 * v1 + self.fc1(x[t])
            s1 = ATan.apply(v1 - 15.0)
            v1 = v1 - 15.0 * s1
            v2 = 0.875 * v2 + self.fc2(s1)
            s2 = ATan.apply(v2 - 1.0)
            v2 = v2 - s2
            rate1, rate2 = rate1 + s1.mean(), rate2 + s2.mean()
            out.append(s2)
        self.rates = [rate1 / x.shape[0], rate2 / x.shape[0]]
        return torch.stack(out)


class EncodesFirst(nn.Module):
    """An encoder's loop makes spike trains before the network's loop runs over them."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = excite(nn.Linear(24, 12)), excite(nn.Linear(12, 10), 1.5)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        v, train = torch.zeros_like(x[0]), []
        for t in range(x.shape[0]):
            v = 0.5 * v + x[t]
            s = (v >= 16.0).float()
            v = v * (1 - s)
            train.append(s)
        return torch.stack(train)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        spikes = self.encode(x)
        v1, v2 = torch.zeros(x.shape[1], 12), torch.zeros(x.shape[1], 10)
        out = []
        for t in range(spikes.shape[0]):
            v1 = 0.875 * v1 + 2.0 * self.fc1(spikes[t])
            s = (v1 >= 1.0).float()
            v1 = v1 - s
            v2 = 0.875 * v2 + self.fc2(s)
            s = (v2 >= 1.0).float()
            v2 = v2 - s
            out.append(s)
        return torch.stack(out)


FORMS = [
    Form(name, build, {"x": (24,)}, {"spikes": "spikes"}, loop=True)
    for name, build in {
        "scales-by-variance": ScalesByVariance,
        "counts-spikes": CountsSpikes,
        "encodes-first": EncodesFirst,
    }.items()
]
