"""Twelve training steps are those of the authors' code, in float64, where nothing hides behind rounding.

Their networks and their loop are written out here from what they published, time-step by time-step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plif_train import build, scale_to_fire
from plif_train.core.network.losses import LOSSES

CHANNELS, HIDDEN, T, BATCH, STEPS = 4, 40, 8, 16, 12


@pytest.fixture(autouse=True)
def _float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Fire(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor) -> Tensor:
        ctx.save_for_backward(u)
        return (u >= 0).to(u)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (u,) = ctx.saved_tensors
        return gradient / (1 + (math.pi * u) ** 2)


class Plif(nn.Module):
    v: Tensor | float = 0.0

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0))

    def forward(self, x: Tensor) -> Tensor:
        h = self.v + (x - self.v) * self.w.sigmoid()
        spikes = Fire.apply(h - 1.0)
        self.v = h * (1 - spikes.detach())
        return spikes


class Dropout(nn.Module):
    mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = F.dropout(torch.ones_like(x), 0.5, training=True)
        return x * self.mask


class Theirs(nn.Module):
    def __init__(self, pool: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS))
        self.rest = nn.Sequential(
            Plif(), pool(2), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS), Plif(),
            pool(2), nn.Flatten(), Dropout(), nn.Linear(49 * CHANNELS, HIDDEN, bias=False), Plif(), Dropout(),
            nn.Linear(HIDDEN, 100, bias=False), Plif(), nn.Unflatten(1, (1, 100)), nn.AvgPool1d(10), nn.Flatten(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        for module in self.modules():
            module.__dict__.pop("v", None)
            module.__dict__.pop("mask", None)
        current = self.first(x)  # once for all steps
        return torch.stack([self.rest(current) for _ in range(T)]).sum(0) / T


@pytest.mark.parametrize("pool", ["MP", "AP"])
def test_twelve_training_steps_are_the_authors(pool: str) -> None:
    torch.manual_seed(2020)
    ours = build("fashion-mnist", channels=CHANNELS, hidden=HIDDEN, pool=pool)
    theirs = Theirs({"MP": nn.MaxPool2d, "AP": nn.AvgPool2d}[pool])
    scale_to_fire(ours, torch.randn(BATCH, 1, 28, 28))
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
    ours.bn = "per-step"
    ours.train()
    optimizers = [torch.optim.Adam(net.parameters(), lr=1e-3) for net in (ours, theirs)]
    before = [tensor.clone() for tensor in ours.state_dict().values()]
    losses = set()
    for step in range(STEPS):
        x, labels = torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))
        seed = torch.get_rng_state()
        ours.reset()
        loss = LOSSES["rate-mse"](ours(x), labels)
        torch.set_rng_state(seed)  # dropout asks for the same numbers in the same order
        other = F.mse_loss(theirs(x), F.one_hot(labels, 10).double())
        assert abs(float((loss - other).detach())) < 1e-12, step
        losses.add(round(float(loss.detach()), 6))
        for optimizer, one in zip(optimizers, (loss, other), strict=True):
            optimizer.zero_grad()
            one.backward()
            optimizer.step()
    assert len(losses) == STEPS, "silence would agree, too"
    for start, (name, a), b in zip(before, ours.state_dict().items(), theirs.state_dict().values(), strict=True):
        assert float((a - b).abs().max()) < 1e-7 and not torch.equal(a, start), name
