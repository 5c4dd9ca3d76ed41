"""Accuracy and firing rates of a network during training, computed in float32.

That holds for every training precision, because the exported file computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plif_train.core.data.sets import Samples
from plif_train.core.loop.devices import World
from plif_train.core.network.layers import Vote
from plif_train.core.network.network import Network
from plif_train.core.recipe import Recipe

Augment = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Score:
    """The result of an evaluation of a network: accuracy and firing rates, both 0..1.

    Rates are the share of neurons and time-steps that fired, by layer.
    """

    accuracy: float
    correct: int
    samples: int
    firing_rates: dict[str, float]


@torch.no_grad()
def evaluate(
    net: Network, samples: Samples, recipe: Recipe, *, prepare: Augment | None = None, world: World | None = None
) -> Score:
    """Evaluate accuracy and firing rate per layer of a network in eval mode.

    `decide_classes` makes the decisions. Ranks take turns at the batches.
    """
    world = world or World()
    device = str(next(net.parameters()).device)
    spike_counts = dict.fromkeys(net.neurons(), 0.0)
    slot_counts = dict.fromkeys(net.neurons(), 0)  # neurons * time-steps * samples

    def count(layer: str, spikes: Tensor) -> None:
        spike_counts[layer] += float(spikes.sum(dtype=torch.float64))
        slot_counts[layer] += spikes.numel()

    correct = 0
    with net.watch_spikes(count):
        for indices in torch.arange(len(samples)).split(4 * recipe.batch_size)[world.rank :: world.size]:
            x, y = make_batch(samples.pick(indices), device, None, prepare)
            net.reset()
            correct += int((decide_classes(net, net(x)) == y).sum())
    total = world.sum_numbers([correct, *spike_counts.values(), *slot_counts.values()])
    fired, slots = total[1 : 1 + len(spike_counts)], total[1 + len(spike_counts) :]
    rates = {layer: fired[i] / slots[i] for i, layer in enumerate(spike_counts)}
    return Score(total[0] / len(samples), int(total[0]), len(samples), rates)


def decide_classes(net: Network, y: Tensor) -> Tensor:
    """Return the class that a network decides for each sample, [B], int64, from outputs y [T, B, classes].

    Votes are added up as whole numbers; without a vote layer the sums are float64. Ties go to the lowest class.
    """
    vote = getattr(net, "vote", None)
    total = (y.float() * vote.voters).round().sum(0) if isinstance(vote, Vote) else y.double().sum(0)
    return total.argmax(1)


def make_batch(
    samples: Samples, device: str, augment: Augment | None, prepare: Augment | None
) -> tuple[Tensor, Tensor]:
    """Make a batch of samples on the device: x [T, B, C, H, W] (static: [B, C, H, W]) and labels y [B].

    Labels of steps are y [T, B].
    """
    x = samples.x if samples.x.dim() == 5 else samples.x.float()  # recordings stay small while they are augmented
    if augment is not None:
        x = augment(x)
    x = x.float()
    if prepare is not None:
        x = prepare(x)
    x = x.to(device)
    y = samples.y.transpose(0, 1) if samples.y.dim() == 2 else samples.y
    return (x.transpose(0, 1) if x.dim() == 5 else x), y.to(device)  # [B, T, ...] -> [T, B, ...]
