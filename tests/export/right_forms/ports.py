"""Forms with more than one input or output."""

from __future__ import annotations

import torch
from torch import nn

from tests.export.right_forms.form import Form, excite
from tests.export.right_forms.neurons import LIF


class TakesDict(nn.Module):
    """Events and a motion sensor come in one dict."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif = excite(nn.Conv2d(2, 6, 3, stride=2)), LIF(threshold=15.0)
        self.imu, self.imu_lif = excite(nn.Linear(6, 8)), LIF(threshold=15.0)
        self.fc, self.out = excite(nn.Linear(6 * 3 * 3 + 8, 10)), LIF(threshold=4.0)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        s = self.lif(self.conv(inputs["events"])).flatten(1)
        moved = self.imu_lif(self.imu(inputs["imu"]))
        return self.out(self.fc(torch.cat([s, moved], dim=1)))


class TakesTwo(nn.Module):
    """Two sensors are two arguments of forward."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = excite(nn.Linear(24, 12)), excite(nn.Linear(10, 12))
        self.lif = LIF(threshold=15.0)
        self.fc, self.out = excite(nn.Linear(12, 10)), LIF()

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.out(self.fc(self.lif(self.left(x) + self.right(y))))


class ReturnsTuple(nn.Module):
    """Spikes and membranes of the last layer are returned as a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = excite(nn.Linear(24, 12)), LIF(threshold=15.0)
        self.fc2 = excite(nn.Linear(12, 10), 2.0)
        self.mem: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        current = self.fc2(self.lif(self.fc1(x)))
        if self.mem is None:
            self.mem = torch.zeros_like(current)
        mem = 0.875 * self.mem + current
        spikes = (mem >= 1.0).float()
        self.mem = mem - spikes
        return spikes, mem


class ReturnsDict(nn.Module):
    """Logits and the hidden layer's spikes are returned as a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = excite(nn.Linear(24, 12)), LIF(threshold=15.0)
        self.fc2 = excite(nn.Linear(12, 10), 2.0)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        s = self.lif(self.fc1(x))
        return {"logits": self.fc2(s), "spikes": s}


FORMS = [
    Form("takes-dict", TakesDict, {"events": (2, 8, 8), "imu": (6,)}, {"spikes": "spikes"}, "dict"),
    Form("takes-two", TakesTwo, {"x": (24,), "y": (10,)}, {"spikes": "spikes"}, "tensors"),
    Form("returns-tuple", ReturnsTuple, {"x": (24,)}, {"spikes": "spikes", "membrane": "values"}),
    Form("returns-dict", ReturnsDict, {"x": (24,)}, {"logits": "values", "spikes": "spikes"}),
]
