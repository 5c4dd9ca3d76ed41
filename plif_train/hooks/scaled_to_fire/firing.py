"""Random networks in which every layer fires: tests and measurements use them in place of trained ones.

A default-initialised network emits no spike at all, and comparing silence with silence proves nothing. `scale_to_fire`
draws every parameter afresh. Then, layer by layer in forward order, it searches the one number that brings the layer's
firing rate to the target: the shift of its batch normalisation, or without one the scale of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from plif_train.core.network.layers import SequenceDropout
from plif_train.core.network.network import Network
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError
from runtime.core.model.notation import NamedLayer


@torch.no_grad()
def scale_to_fire(
    net: Network, x_seq: Tensor, low: float = 0.02, high: float = 0.30, target: float = 0.1, seed: int = 0
) -> dict[str, float]:
    """Randomise a network in place so that the firing rate of every layer on x_seq lies in [low, high].

    x_seq is [T, B, C, H, W]. Weights, biases, batch normalisation (gamma, beta, running statistics) and the w of PLIF
    neurons are drawn from `seed`; a static network also takes images [B, C, H, W], shown for its T. Leaves the
    network reset and in the mode it was in. Returns {layer: rate} in eval mode; raises PlifError naming a layer that
    cannot reach the range.
    """
    generator = torch.Generator().manual_seed(seed)
    rates: dict[str, float] = {}
    with net.watch_spikes(lambda layer, spikes: rates.update({layer: float(spikes.mean())})):
        x = x_seq.expand(net.T, *x_seq.shape) if x_seq.dim() == 4 else x_seq
        block: list[NamedLayer] = []
        for named in net.named_layers:
            block.append(named)
            if named.op == "Neuron":
                x = tune_block(net, block, x, target, generator)
                block = []
        net.reset()
        net(x_seq)
    for layer, rate in rates.items():
        if not low <= rate <= high:
            raise PlifError(f"{layer}: fires at {rate:.4f}, no scale brings it into {low}..{high}; give a richer input")
    return rates


def tune_block(net: Network, block: list[NamedLayer], x: Tensor, target: float, generator: torch.Generator) -> Tensor:
    """Randomise the weights of a block of layers and scale them so that a share `target` of its neurons fires.

    block    these layers, the neuron last; x: their input [T, B, ...], float32

    Returns the neuron's spikes [T, B, ...].
    """
    neuron = net.get_submodule(block[-1].name)
    assert isinstance(neuron, Neuron)
    if neuron.w is not None:
        neuron.w.copy_(_uniform(neuron.w, -1.5, 1.5, generator))  # tau from 1.2 to 5.5
    norm: nn.BatchNorm2d | None = None
    scaled: nn.Conv2d | nn.Linear | None = None
    for named in block[:-1]:
        module = net.get_submodule(named.name)
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.weight.copy_(_normal(module.weight, generator) * module.weight[0].numel() ** -0.5)
            if module.bias is not None:
                module.bias.copy_(_normal(module.bias, generator) * 0.1)
            norm, scaled = None, module
        elif isinstance(module, nn.BatchNorm2d):
            norm = module
            _randomise_norm(norm, x, generator)
        x = (
            module.forward_sequence(x)
            if isinstance(module, SequenceDropout)
            else module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        )

    # Layers that may stand between here and the neuron (pools) carry a shift and a positive scale through unchanged.
    if norm is not None:
        reach = 8.0 * max(1.0, abs(neuron.v_threshold))
        shift = _bisect(lambda b: _rate(neuron, x + b), -reach, reach, target)
        norm.bias.add_(shift)
        x = x + shift
    elif scaled is not None:
        factor = 2.0 ** _bisect(lambda e: _rate(neuron, x * 2.0**e), -12.0, 12.0, target)
        scaled.weight.mul_(factor)
        if scaled.bias is not None:
            scaled.bias.mul_(factor)
        x = x * factor
    neuron.reset()
    return neuron.forward_sequence(x)


def _randomise_norm(norm: nn.BatchNorm2d, x: Tensor, generator: torch.Generator) -> None:
    """Give a batch normalisation layer random running statistics, near those of x [T, B, C, H, W].

    gamma is drawn from 0.5 to 1.5, beta from -0.3 to 0.3.
    """
    per_channel = (0, 1, 3, 4)
    mean = x.mean(per_channel)
    var = x.var(per_channel, unbiased=False).clamp_min(1e-4)  # a channel may have no input at all
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(mean + var.sqrt() * _uniform(mean, -0.2, 0.2, generator))
    norm.running_var.copy_(var * _uniform(var, 0.7, 1.4, generator))
    norm.weight.copy_(_uniform(mean, 0.5, 1.5, generator))
    norm.bias.copy_(_uniform(mean, -0.3, 0.3, generator))


def _bisect(rate: Callable[[float], float], low: float, high: float, target: float) -> float:
    """Search by bisection the argument at which the rising function rate(value) reaches the target.

    Stops within 10 %, else returns the nearest value.
    """
    best, distance = low, math.inf
    for _ in range(24):
        value = (low + high) / 2
        measured = rate(value)
        error = abs(math.log(max(measured, 1e-9) / target))
        if error < distance:
            best, distance = value, error
        if error < 0.1:
            break
        low, high = (value, high) if measured < target else (low, value)
    return best


def _rate(neuron: Neuron, current: Tensor) -> float:
    neuron.reset()
    return float(neuron.forward_sequence(current).mean())


def _uniform(like: Tensor, low: float, high: float, generator: torch.Generator) -> Tensor:
    return (torch.rand(like.shape, generator=generator) * (high - low) + low).to(like)


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like)
