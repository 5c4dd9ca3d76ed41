"""Forms of how a layer fires: learned thresholds, winners, clamped membranes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.export.right_forms.form import Form, excite


class LearnedThreshold(nn.Module):
    """The membrane is compared with a threshold that is a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = excite(nn.Linear(24, 12))
        self.th = nn.Parameter(torch.tensor(20.0))
        self.v: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None:
            self.v = torch.zeros(x.shape[0], 12)
        v = 0.875 * self.v + self.fc(x)
        s = (v >= self.th).float()
        self.v = v * (1 - s)
        return s


class ThresholdFirst(nn.Module):
    """A threshold of each neuron stands on the left of the comparison."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = excite(nn.Linear(24, 12))
        self.th = nn.Parameter(torch.linspace(10.0, 40.0, 12))
        self.v: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None:
            self.v = torch.zeros(x.shape[0], 12)
        v = 0.875 * self.v + self.fc(x)
        s = (self.th <= v).float()
        self.v = v - s * self.th
        return s


class TopWinners(nn.Module):
    """Only the k highest membranes of a layer may fire."""

    def __init__(self, k: int = 3) -> None:
        super().__init__()
        self.k, self.fc = k, excite(nn.Linear(24, 12))
        self.v: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None:
            self.v = torch.zeros(x.shape[0], 12)
        h = 0.875 * self.v + self.fc(x)
        winners = h >= h.topk(self.k, dim=1).values[:, -1:]
        s = (winners & (h >= 20.0)).float()
        self.v = h * (1 - s)
        return s


class HighestWinner(nn.Module):
    """Only the highest membrane of a layer may fire."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = excite(nn.Linear(24, 12))
        self.v: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None:
            self.v = torch.zeros(x.shape[0], 12)
        h = 0.875 * self.v + self.fc(x)
        winner = (h >= h.amax(1, keepdim=True)).float()
        s = winner * (h >= 20.0).float()
        self.v = h - 20.0 * s
        return s


class WinnerInhibits(nn.Module):
    """The neuron with the highest membrane fires and inhibits all others."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = excite(nn.Linear(24, 12))
        self.v: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v is None:
            self.v = torch.zeros(x.shape[0], 12)
        h = 0.875 * self.v + self.fc(x)
        winner = F.one_hot(h.argmax(dim=1), num_classes=12).float()
        s = winner * (h >= 20.0).float()
        fired = s.sum(1, keepdim=True)
        self.v = h - 20.0 * s - 5.0 * fired * (1 - winner)
        return s


class ClampedMembranes(nn.Module):
    """Membranes are clamped to ±500 in the hidden layer and to ±100 in the last."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = excite(nn.Linear(24, 16), 6.0), excite(nn.Linear(16, 10), 80.0)
        self.v1: torch.Tensor | None = None
        self.v2: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.v1 is None or self.v2 is None:
            self.v1, self.v2 = x.new_zeros(x.shape[0], 16), x.new_zeros(x.shape[0], 10)
        h = torch.clamp(0.9375 * self.v1 + self.fc1(x), -500.0, 500.0)
        s = (h >= 60.0).float()
        self.v1 = h - 60.0 * s
        h = torch.clamp(0.9375 * self.v2 + self.fc2(s), min=-100.0, max=100.0)
        s = (h >= 30.0).float()
        self.v2 = h - 30.0 * s
        return s


FORMS = [
    Form(name, build, {"x": (24,)}, {"spikes": "spikes"})
    for name, build in {
        "learned-threshold": LearnedThreshold,
        "threshold-first": ThresholdFirst,
        "top-winners": TopWinners,
        "highest-winner": HighestWinner,
        "winner-inhibits": WinnerInhibits,
        "clamped-membranes": ClampedMembranes,
    }.items()
]
