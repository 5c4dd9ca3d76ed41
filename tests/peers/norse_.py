"""Norse 1.1: every cell, its state kept by the network that it is in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import norse.torch as norse
import torch
from norse.torch.functional import izhikevich
from torch import Tensor, nn

from tests.peers import Maker, Peer, counts, strong


class Network(nn.Module):
    """A linear layer, a cell with its state, a linear layer, and a LIF cell with its own."""

    def __init__(self, cell: nn.Module, gain: float) -> None:
        super().__init__()
        self.fc1, self.cell, self.fc2 = strong(nn.Linear(10, 16), gain), cell, strong(nn.Linear(16, 5), 20.0)
        self.last = norse.LIFBoxCell()
        self.state: Any = None
        self.last_state: Any = None

    def forward(self, x: Tensor) -> Tensor:
        s, self.state = self.cell(self.fc1(x), self.state)
        y, self.last_state = self.last(self.fc2(s), self.last_state)
        return y  # type: ignore[no-any-return]


def _cell(cell: Callable[[], nn.Module], gain: float = 30.0) -> Maker:
    return lambda: Peer(Network(cell(), gain).eval(), counts(2, 10))


MAKERS: dict[str, Maker] = {
    **{name: _cell(getattr(norse, name)) for name in (
        "LIFCell", "LIFBoxCell", "LIFRefracCell", "LIFExCell", "LIFAdExCell", "LIFAdExRefracCell", "LSNNCell",
        "IAFCell", "LICell", "LIBoxCell",
    )},
    **{name: _cell(partial(getattr(norse, name), 16, 16)) for name in (
        "LIFRecurrentCell", "LIFRefracRecurrentCell", "LIFExRecurrentCell", "LIFAdExRecurrentCell",
        "LIFAdExRefracRecurrentCell", "LSNNRecurrentCell", "LILinearCell", "CobaLIFCell",
    )},
    **{name: _cell(partial(getattr(norse, name), 16, 16, g_coupling=0.1 * torch.eye(16))) for name in (
        "LIFMCRecurrentCell", "LIFMCRefracRecurrentCell",
    )},
    "IzhikevichCell": _cell(partial(norse.IzhikevichCell, izhikevich.tonic_spiking), 90.0),
    "IzhikevichRecurrentCell": _cell(partial(norse.IzhikevichRecurrentCell, 16, 16, izhikevich.tonic_spiking), 90.0),
}  # fmt: skip
