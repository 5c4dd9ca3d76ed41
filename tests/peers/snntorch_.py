"""snnTorch 1.0: every neuron between two linear layers, keeping its state itself (init_hidden=True) where it can."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import snntorch as snn
import torch
from torch import Tensor, nn

from tests.peers import Maker, Peer, counts, strong


def _between(part: Callable[[], nn.Module]) -> Maker:
    def make() -> Peer:
        last = snn.Leaky(0.9, init_hidden=True)
        return Peer(
            nn.Sequential(strong(nn.Linear(10, 16)), part(), strong(nn.Linear(16, 5)), last).eval(), counts(2, 10)
        )

    return make


class Spikes(nn.Module):
    """DeltaLeaky, which returns its states beside its spikes, as a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = snn.DeltaLeaky(beta=0.9, init_hidden=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]  # type: ignore[no-any-return]


class Planes(nn.Module):
    """A convolutional LSTM of snnTorch, with its states kept here, and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.fc = snn.SConv2dLSTM(2, 4, 3, threshold=0.1), strong(nn.Linear(4 * 8 * 8, 5))
        self.last = snn.Leaky(0.9, init_hidden=True)
        self.syn: Tensor | None = None
        self.mem: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        s, self.syn, self.mem = self.cell(x, self.syn, self.mem)
        return self.last(self.fc(s.flatten(1)))  # type: ignore[no-any-return]


class Hidden(nn.Module):
    """SLSTM with its states kept here. It forgets them in each step unless its input has the size of its hidden state."""

    def __init__(self) -> None:
        super().__init__()
        self.first = strong(nn.Linear(10, 16))
        self.cell, self.fc = snn.SLSTM(16, 16, threshold=0.1), strong(nn.Linear(16, 5))
        self.last = snn.Leaky(0.9, init_hidden=True)
        self.syn: Tensor | None = None
        self.mem: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        s, self.syn, self.mem = self.cell(self.first(x), self.syn, self.mem)
        return self.last(self.fc(s))  # type: ignore[no-any-return]


def _over_time(part: Callable[[], nn.Module]) -> Maker:
    """Neurons that take all steps at once, [T, B, 10]."""

    class Readout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.fc = part(), strong(nn.Linear(16, 5))

        def forward(self, x: Tensor) -> Tensor:
            out = self.cell(x)
            return self.fc(out[0] if isinstance(out, tuple) else out)  # type: ignore[no-any-return]

    return lambda: Peer(Readout().eval(), counts(8, 2, 10), 0)


def _parallel() -> nn.Module:
    cell = snn.LeakyParallel(10, 16)
    with torch.no_grad():
        cell.rnn.weight_ih_l0.mul_(6)
    return cell


MAKERS: dict[str, Maker] = {
    "Leaky": _between(partial(snn.Leaky, 0.9, init_hidden=True)),
    "Synaptic": _between(partial(snn.Synaptic, 0.8, 0.9, init_hidden=True)),
    "Alpha": _between(partial(snn.Alpha, 0.9, 0.8, threshold=0.1, init_hidden=True)),
    "Lapicque": _between(partial(snn.Lapicque, beta=0.9, init_hidden=True)),
    "RLeaky": _between(partial(snn.RLeaky, 0.9, linear_features=16, init_hidden=True)),
    "RSynaptic": _between(partial(snn.RSynaptic, 0.8, 0.9, linear_features=16, init_hidden=True)),
    "DeltaLeaky": _between(Spikes),
    "SLSTM": lambda: Peer(Hidden().eval(), counts(2, 10)),
    "SConv2dLSTM": lambda: Peer(Planes().eval(), counts(2, 2, 8, 8)),
    "LinearLeaky": _over_time(partial(snn.LinearLeaky, 0.9, 10, 16)),
    "LeakyParallel": _over_time(_parallel),
    "StateLeaky": _over_time(lambda: nn.Sequential(strong(nn.Linear(10, 16)), snn.StateLeaky(0.9, 16))),
    "AssociativeLeaky": _over_time(lambda: snn.AssociativeLeaky(10, 4, 4, 16)),
}
