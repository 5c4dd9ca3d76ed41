"""Forms with layers other than convolution, pooling and batch normalisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from tests.export.right_forms.form import Form, excite
from tests.export.right_forms.neurons import LIF


class GroupNormed(nn.Module):
    """A convolution's currents are normalised in groups of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.lif = excite(nn.Conv2d(2, 8, 3)), nn.GroupNorm(2, 8), LIF()
        self.fc, self.out = excite(nn.Linear(8 * 6 * 6, 10)), LIF(threshold=4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.lif(self.norm(self.conv(x)))
        return self.out(self.fc(s.flatten(1)))


class RootMeanSquareNormed(nn.Module):
    """Currents are divided by their root mean square."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.norm, self.lif = excite(nn.Linear(24, 16)), nn.RMSNorm(16), LIF()
        self.fc2, self.out = excite(nn.Linear(16, 10)), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.fc2(self.lif(self.norm(self.fc1(x)))))


class Activated(nn.Module):
    """An analogue encoder with one activation comes before the neurons."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.fc1, self.activation = excite(nn.Linear(24, 16)), activation
        self.fc2, self.lif = excite(nn.Linear(16, 12)), LIF()
        self.fc3, self.out = excite(nn.Linear(12, 10)), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.activation(self.fc1(x / 32))
        return self.out(self.fc3(self.lif(self.fc2(h))))


def gelu() -> nn.Module:
    """An analogue encoder with GELU comes before the neurons."""
    return Activated(nn.GELU())


def silu() -> nn.Module:
    """An analogue encoder with SiLU comes before the neurons."""
    return Activated(nn.SiLU())


def prelu() -> nn.Module:
    """An analogue encoder with PReLU comes before the neurons."""
    return Activated(nn.PReLU(16))


class Unfolded(nn.Module):
    """Patches are cut out by unfold, and each goes through the same layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.lif = excite(nn.Linear(2 * 4 * 4, 8)), LIF(threshold=15.0)
        self.fc2, self.out = excite(nn.Linear(9 * 8, 10)), LIF(threshold=4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = F.unfold(x, kernel_size=4, stride=2).transpose(1, 2)  # [B, 9, 32]
        s = self.lif(self.fc1(patches))
        return self.out(self.fc2(s.flatten(1)))


class Summed(nn.Module):
    """Each group of inputs has a weight matrix of its own, multiplied by einsum."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6, 5) * 0.5 + 0.2)
        self.lif = LIF(threshold=15.0)
        self.fc, self.out = excite(nn.Linear(20, 10)), LIF()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        groups = x.view(x.shape[0], 4, 6)
        s = self.lif(torch.einsum("bgi,gio->bgo", groups, self.weight))
        return self.out(self.fc(s.flatten(1)))


def sequential() -> nn.Module:
    """A Sequential has LayerNorm, Hardtanh, Hardswish and neurons of its own."""
    return nn.Sequential(
        excite(nn.Linear(24, 16)),
        nn.LayerNorm(16),
        nn.Hardtanh(-1.5, 1.5),
        LIF(),
        excite(nn.Linear(16, 12)),
        nn.Hardswish(),
        excite(nn.Linear(12, 10)),
        LIF(threshold=0.5),
    )


FORMS = [
    Form("group-norm", GroupNormed, {"x": (2, 8, 8)}, {"spikes": "spikes"}),
    Form("rms-norm", RootMeanSquareNormed, {"x": (24,)}, {"spikes": "spikes"}),
    Form("gelu", gelu, {"x": (24,)}, {"spikes": "spikes"}),
    Form("silu", silu, {"x": (24,)}, {"spikes": "spikes"}),
    Form("prelu", prelu, {"x": (24,)}, {"spikes": "spikes"}),
    Form("unfold", Unfolded, {"x": (2, 8, 8)}, {"spikes": "spikes"}),
    Form("einsum", Summed, {"x": (24,)}, {"spikes": "spikes"}),
    Form("sequential", sequential, {"x": (24,)}, {"spikes": "spikes"}),
]
