"""Forms with habits of research code that leave the result as it is."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.export.right_forms.form import Form, excite
from tests.export.right_forms.neurons import LIF


class SwappedWeight(nn.Module):
    """The convolution runs on the signs of its weight, which is then put back."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif = excite(nn.Conv2d(2, 6, 3, bias=False)), LIF(threshold=120.0)
        self.fc, self.out = excite(nn.Linear(6 * 3 * 3, 10)), LIF(threshold=4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.conv.weight.data
        self.conv.weight.data = w.sign()
        y = self.conv(x)
        self.conv.weight.data = w
        return self.out(self.fc(F.max_pool2d(self.lif(y), 2).flatten(1)))


class AssertsFinite(nn.Module):
    """An assertion stops a membrane that is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = excite(nn.Linear(24, 12))
        self.v: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None:
            self.v = torch.zeros(x.shape[0], 12)
        v = 0.875 * self.v + self.fc(x)
        assert torch.isfinite(v).all(), "the membrane is not finite"
        s = (v >= 20.0).float()
        self.v = v - 20.0 * s
        return s


class NotesRate(nn.Module):
    """The rate of spikes is kept as a number that nothing reads."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = excite(nn.Linear(24, 12)), LIF(threshold=15.0)
        self.fc2, self.out = excite(nn.Linear(12, 10)), LIF()
        self.rate = 0.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.lif(self.fc1(x))
        self.rate = float(s.mean())
        return self.out(self.fc2(s))


FORMS = [
    Form("swapped-weight", SwappedWeight, {"x": (2, 8, 8)}, {"spikes": "spikes"}),
    Form("asserts-finite", AssertsFinite, {"x": (24,)}, {"spikes": "spikes"}),
    Form("notes-rate", NotesRate, {"x": (24,)}, {"spikes": "spikes"}),
]
