"""Accuracy and firing rates of a network while it is trained: float32 whatever the training's precision, as the exported
file computes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plif_train.core.data.sets import Samples
from plif_train.core.loop.devices import World
from plif_train.core.network.network import Network, Vote
from plif_train.core.recipe import Recipe

Augment = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Score:
    """Accuracy and rates are 0..1; rates are the share of neurons and time-steps that fired, by layer."""

    accuracy: float
    correct: int
    samples: int
    firing_rates: dict[str, float]


@torch.no_grad()
def evaluate(
    net: Network, samples: Samples, recipe: Recipe, *, prepare: Augment | None = None, world: World | None = None
) -> Score:
    """Accuracy and firing rate per layer in eval mode; decisions as in `decide`. Ranks take turns at the batches."""
    world = world or World()
    device = str(next(net.parameters()).device)
    spikes_of = dict.fromkeys(net.neurons(), 0.0)
    places_of = dict.fromkeys(net.neurons(), 0)  # neurons * time-steps * samples

    def count(layer: str, spikes: Tensor) -> None:
        spikes_of[layer] += float(spikes.sum(dtype=torch.float64))
        places_of[layer] += spikes.numel()

    correct = 0
    with net.watched(count):
        for indices in torch.arange(len(samples)).split(4 * recipe.batch_size)[world.rank :: world.size]:
            x, y = batch_of(samples.pick(indices), device, None, prepare)
            net.reset()
            correct += int((decide(net, net(x)) == y).sum())
    total = world.total([correct, *spikes_of.values(), *places_of.values()])
    fired, places = total[1 : 1 + len(spikes_of)], total[1 + len(spikes_of) :]
    rates = {layer: fired[i] / places[i] for i, layer in enumerate(spikes_of)}
    return Score(total[0] / len(samples), int(total[0]), len(samples), rates)


def decide(net: Network, y: Tensor) -> Tensor:
    """y [T, B, classes], float32 -> the class of each sample, [B], int64: whole votes are added up (without a vote layer
    float64 sums), ties go to the lowest class."""
    vote = getattr(net, "vote", None)
    total = (y.float() * vote.voters).round().sum(0) if isinstance(vote, Vote) else y.double().sum(0)
    return total.argmax(1)


def batch_of(samples: Samples, device: str, augment: Augment | None, prepare: Augment | None) -> tuple[Tensor, Tensor]:
    """x [T, B, C, H, W] (static: [B, C, H, W]), float32, and y [B] (of steps: [T, B]), int64, on the device."""
    x = samples.x if samples.x.dim() == 5 else samples.x.float()  # recordings stay small while they are augmented
    if augment is not None:
        x = augment(x)
    x = x.float()
    if prepare is not None:
        x = prepare(x)
    x = x.to(device)
    y = samples.y.transpose(0, 1) if samples.y.dim() == 2 else samples.y
    return (x.transpose(0, 1) if x.dim() == 5 else x), y.to(device)  # [B, T, ...] -> [T, B, ...]
