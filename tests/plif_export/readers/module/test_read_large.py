"""Networks of many layers are read in time that grows with their size, and oddities of other libraries' classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import plif_export
from plif_export.core.proof.arithmetic.measure import WHOLE, lowest_bit, lowest_unit
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError


def _neuron() -> nn.Module:
    return Neuron("IF")


class Residual(nn.Module):
    """x + IF(W x), many times: the ways through it double with every layer."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(depth))
        self.neurons = nn.ModuleList(_neuron() for _ in range(depth))
        self.last, self.out = nn.Linear(6, 3), _neuron()

    def forward(self, x: Tensor) -> Tensor:
        for layer, neuron in zip(self.layers, self.neurons, strict=True):
            x = 0.9 * x + neuron(layer(x))
        return self.out(self.last(x))  # type: ignore[no-any-return]


def test_reading_does_not_walk_every_way_through_a_residual_network() -> None:
    assert plif_export.check(Residual(40), torch.zeros(1, 6)).supported  # 2^40 ways


class OwnCopy(nn.Module):
    """A layer whose deepcopy fails, as that of sinabs's recurrent layers does."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnCopy:
        raise AttributeError("no attribute 'fc.weight'")

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)  # type: ignore[no-any-return]


def test_a_module_that_cannot_be_deep_copied_is_exported(tmp_path: Path) -> None:
    report = plif_export.export(nn.Sequential(OwnCopy(), _neuron()), tmp_path / "m.onnx", torch.zeros(1, 6)).verify
    assert report is not None and report.passed


class Anew(nn.Module):
    """Leaks over the steps of one call, and forgets its membrane in the next, as SpikingJelly's DSR neurons do."""

    def forward(self, x: Tensor) -> Tensor:
        v, fired = torch.zeros_like(x[0]), []
        for x_t in x:
            v = v * 0.5 + x_t
            s = (v >= 1).float()
            v = v - s
            fired.append(s)
        return torch.stack(fired)


class GoesOn(nn.Module):
    """As Anew, but a call goes on from where the last one ended."""

    v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        v, fired = torch.zeros_like(x[0]) if self.v is None else self.v, []
        for x_t in x:
            v = v * 0.5 + x_t
            s = (v >= 1).float()
            v = v - s
            fired.append(s)
        self.v = v
        return torch.stack(fired)


def test_some_neurons_may_forget_between_calls_and_others_not(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), Anew(), nn.Linear(8, 3), GoesOn())
    with torch.no_grad():
        for layer in (net[0], net[2]):
            layer.weight.mul_(3)
    report = plif_export.export(net, tmp_path / "m.onnx", torch.zeros(4, 1, 6)).verify
    assert report is not None and report.passed


class Deaf(nn.Module):
    """Its spikes do not depend on its input."""

    v: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.v = (torch.zeros_like(x) if self.v is None else self.v) * 0.5 + 0.8
        s = (self.v >= 1).float()
        self.v = self.v - s
        return s


def test_an_output_that_does_not_depend_on_the_input_is_said(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="its output does not depend on its input; check"):
        plif_export.export(Deaf(), tmp_path / "m.onnx", torch.zeros(1, 6))


class Fine(nn.Module):
    """Fires where its membrane, in millionths, is odd: the last bit of a sum decides."""

    def forward(self, x: Tensor) -> Tensor:
        v, fired = torch.zeros_like(x[0]), []
        for x_t in x:
            v = v * 0.5 + x_t
            millionths = torch.floor(v * 1e6)
            s = ((millionths - 2 * torch.floor(millionths * 0.5)) >= 1).float()
            v = v - s
            fired.append(s)
        return torch.stack(fired)


class Wide(nn.Module):
    """A layer over all steps at once adds in another order than over one; `wrong` adds a thousandth in the first step of many."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.wrong, self.fc, self.fine, self.out = wrong, nn.Linear(1000, 64), Fine(), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc(x)
        if self.wrong and len(x) > 7:  # more steps than it is read with
            current = current + 1e-3
        return self.out(self.fine(current)).mean(0)


@pytest.mark.parametrize("wrong", [False, True])
def test_spikes_that_rounding_alone_changes_are_no_difference_and_others_are(wrong: bool) -> None:
    found = plif_export.check(Wide(wrong), torch.zeros(4, 1, 1000))
    assert found.supported is not wrong
    assert not wrong or "of the module is not what its layers make" in str(found)


class Alike(nn.Module):
    """Two neurons that are alike and read the same: one layer of the file."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.a, self.b = nn.Linear(6, 8), _neuron(), _neuron()
        self.left, self.right, self.out = nn.Linear(8, 3), nn.Linear(8, 3), _neuron()

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc(x)
        return self.out(self.left(self.a(x)) + self.right(self.b(x)))  # type: ignore[no-any-return]


def test_two_neurons_that_are_one_are_tried_with_one_current(tmp_path: Path) -> None:
    report = plif_export.export(Alike(), tmp_path / "m.onnx", torch.zeros(1, 6)).verify
    assert report is not None and report.passed and len(report.layers) == 2


def test_the_unit_of_many_weights_is_that_of_all_of_them() -> None:
    values = np.random.default_rng(0).integers(-64, 64, 100_001).astype(np.float32) * 8
    assert lowest_unit(values) == lowest_bit(values).min() == 8
    values[-1] = 0.375
    assert lowest_unit(values) == 0.125
    assert lowest_unit(np.zeros(3, np.float32)) == WHOLE
