"""Forms with attention over the tokens of one step, as in spiking transformers."""

from __future__ import annotations

import torch
from torch import nn

from tests.export.right_forms.form import Form, excite
from tests.export.right_forms.neurons import LIF


class Patches(nn.Module):
    """A step's image as spikes of tokens [B, 4, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.lif = excite(nn.Conv2d(2, 16, 4, stride=4)), LIF(threshold=15.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.lif(self.conv(x)).flatten(2).transpose(1, 2)


class AttendingBlock(nn.Module):
    """A spiking block attends over the patches of one step."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Patches()
        self.attention = nn.MultiheadAttention(16, 2, dropout=0.1, batch_first=True)
        self.lif, self.head, self.out = LIF(), excite(nn.Linear(16, 10)), LIF(threshold=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.patches(x)
        attended, _ = self.attention(s, s, s)
        s = self.lif(s + attended)
        return self.out(self.head(s.mean(1)))


class EncodingBlock(nn.Module):
    """A transformer's encoder layer stands between two layers of neurons."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = Patches()
        self.encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.lif, self.head, self.out = LIF(), excite(nn.Linear(16, 10)), LIF(threshold=0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.lif(self.encoder(self.patches(x)))
        return self.out(self.head(s.mean(1)))


FORMS = [
    Form("attention", AttendingBlock, {"x": (2, 8, 8)}, {"spikes": "spikes"}),
    Form("encoder-layer", EncodingBlock, {"x": (2, 8, 8)}, {"spikes": "spikes"}),
]
