"""Forms of states: delay lines, complex membranes, states left over from another batch."""

from __future__ import annotations

import torch
from torch import nn

from tests.export.right_forms.form import Form, excite
from tests.export.right_forms.neurons import LIF


class RolledDelay(nn.Module):
    """A buffer of the last spikes is rolled by one in each step."""

    line: torch.Tensor

    def __init__(self, delay: int = 4) -> None:
        super().__init__()
        self.fc1, self.lif = excite(nn.Linear(24, 12)), LIF(threshold=15.0)
        self.fc2, self.out = excite(nn.Linear(12, 10)), LIF()
        self.register_buffer("line", torch.zeros(1, delay, 12))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.line.shape[0] != x.shape[0]:
            self.line = self.line.new_zeros(x.shape[0], *self.line.shape[1:])
        s = self.lif(self.fc1(x))
        self.line = torch.roll(self.line, shifts=1, dims=1)
        self.line[:, 0] = s
        return self.out(self.fc2(self.line[:, -1]))


class ShiftedDelay(nn.Module):
    """A delay line of the input is shifted in place."""

    def __init__(self, delay: int = 4) -> None:
        super().__init__()
        self.delay = delay
        self.fc, self.out = excite(nn.Linear(delay * 24, 10)), LIF(threshold=15.0)
        self.buf: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.buf is None:
            self.buf = torch.zeros(x.shape[0], self.delay, x.shape[1])
        self.buf[:, 1:] = self.buf[:, :-1].clone()
        self.buf[:, 0] = x
        return self.out(self.fc(self.buf.flatten(1)))


class Resonator(nn.Module):
    """Resonate-and-fire neurons have a complex state."""

    def __init__(self, dt: float = 0.05) -> None:
        super().__init__()
        self.dt = dt
        self.fc = excite(nn.Linear(24, 12))
        self.b = nn.Parameter(-torch.linspace(0.5, 3.0, 12))
        self.w = nn.Parameter(torch.linspace(5.0, 20.0, 12))
        self.z: torch.Tensor | None = None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.z is None:
            self.z = torch.zeros(x.shape[0], 12, dtype=torch.complex64)
        self.z = self.z * torch.exp(torch.complex(self.b, self.w) * self.dt) + self.fc(x)
        return (self.z.imag > 15.0).float()


class LeftOver(nn.Module):
    """The module has last run two rows, and makes a new state when the batch changes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = excite(nn.Linear(24, 12)), excite(nn.Linear(12, 10))
        self.batch = 0
        self.mem1, self.mem2 = torch.zeros(0, 12), torch.zeros(0, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[0] != self.batch:
            self.batch = x.shape[0]
            self.mem1 = torch.zeros(self.batch, 12)
            self.mem2 = torch.zeros(self.batch, 10)
        mem = self.mem1 * 0.875 + self.fc1(x)
        s = (mem >= 15.0).float()
        self.mem1 = mem - 15.0 * s
        mem = self.mem2 * 0.875 + self.fc2(s)
        s = (mem >= 1.0).float()
        self.mem2 = mem - s
        return s


def run_two_rows(module: nn.Module) -> None:
    """Run five steps of two rows, as a quick look before the export does."""
    with torch.no_grad():
        for _ in range(5):
            module(torch.full((2, 24), 9.0))


FORMS = [
    Form("rolled-delay", RolledDelay, {"x": (24,)}, {"spikes": "spikes"}),
    Form("shifted-delay", ShiftedDelay, {"x": (24,)}, {"spikes": "spikes"}),
    Form("complex-state", Resonator, {"x": (24,)}, {"spikes": "spikes"}),
    Form("left-over", LeftOver, {"x": (24,)}, {"spikes": "spikes"}, before=run_two_rows),
]
