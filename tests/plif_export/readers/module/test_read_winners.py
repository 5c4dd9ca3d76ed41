"""Neurons that compete within a step: the strongest fire, inhibit the others, or feed a layer before their own reset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import neuron
from torch import Tensor, nn

from plif_export import check, export
from runtime import load

Step = Callable[[nn.Module, Tensor], tuple[Tensor, Tensor]]  # (module, charged membranes) -> spikes, next membranes


class Competing(nn.Module):
    """Six leaky neurons behind a layer, which fire and reset as a function says."""

    def __init__(self, compete: Step) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.compete, self.fc, self.lateral = compete, nn.Linear(5, 6), nn.Linear(6, 6, bias=False)
        self.v: Any = 0.0
        with torch.no_grad():
            self.fc.weight.copy_((self.fc.weight * 64).round() / 16 + 0.25)
            self.fc.bias.zero_()
            self.lateral.weight.copy_((self.lateral.weight * 64).round() / 64)

    def forward(self, x: Tensor) -> Tensor:
        s, self.v = self.compete(self, 0.75 * self.v + self.fc(x))
        return s


def top(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = ((h >= h.topk(2, 1).values[:, 1:]) & (h > 1)).float()
    return s, h * (1 - s)


def highest(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = (h >= h.max(1, keepdim=True).values).float() * (h > 1).float()
    return s, h - s


def first_highest(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    """All but the winner are inhibited if it fires. Of equal neurons, the first wins."""
    h = torch.round(h)
    winner = F.one_hot(h.argmax(-1), 6).float()
    s = winner * (h > 1).float()
    return s, h - s - 0.5 * s.sum(1, keepdim=True) * (1 - winner)


def lateral(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    """Spikes inhibit the membranes of the same step through weights."""
    s = (h > 1).float()
    return s, h - s + m.lateral(s)  # type: ignore[operator]


@pytest.mark.parametrize("compete", [top, highest, first_highest, lateral])
def test_neurons_that_compete_within_a_step_are_those_of_the_module(tmp_path: Path, compete: Step) -> None:
    net = Competing(compete)
    report = export(net, tmp_path / "m.onnx", torch.zeros(1, 5)).verify
    assert report is not None and report.passed and report.spikes > 10
    x = torch.from_numpy(np.random.default_rng(0).poisson(0.5, (20, 3, 5)).astype("float32"))
    with torch.no_grad():
        net.v = 0.0
        expected = torch.stack([net(x_t) for x_t in x])
    assert 0 < expected.mean() < 0.9
    assert torch.equal(torch.from_numpy(load(tmp_path / "m.onnx").session(3).run(x.numpy())), expected)


def weakest(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = (h >= h.topk(2, 1, largest=False).values[:, :1]).float()
    return s, h - s


def placed(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = torch.zeros_like(h).scatter(1, h.topk(2, 1).indices, 1.0)
    return s, h - s


def unsized(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = (h > F.one_hot(h.argmax(1)).sum(1, keepdim=True)).float()
    return s, h - s


def wider(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = F.one_hot(h.argmax(1), 7).float()[:, :6]
    return s, h - s


def counted(m: nn.Module, h: Tensor) -> tuple[Tensor, Tensor]:
    s = F.one_hot((h > 1).sum(1), 6).float()
    return s, h - s


@pytest.mark.parametrize(
    ("compete", "says"),
    [
        (weakest, "it takes the smallest values; take the largest of -h"),
        (placed, "scatter() is not exported"),
        (unsized, "the size of what one_hot() makes depends on values"),
        (wider, "one_hot of the maximum along axis 1 of [6] with 7 classes; take it along the last axis"),
        (counted, "one_hot of sum() is not exported; use it for the place of a maximum: one_hot(h.argmax(1), n)"),
    ],
)
def test_other_competitions_are_refused_with_the_reason(compete: Step, says: str) -> None:
    problems = check(Competing(compete), torch.zeros(1, 5)).problems
    assert any(says in problem for problem in problems), problems


def test_one_neuron_module_in_two_places_is_refused() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fire, self.fc2 = nn.Linear(5, 6), neuron.IFNode(), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.fire(self.fc2(self.fire(self.fc1(x))))  # type: ignore[no-any-return]

    (problem,) = check(Shared(), torch.zeros(1, 5)).problems
    assert "it is called twice in one step, and has one state; give each place a neuron of its own" in problem
