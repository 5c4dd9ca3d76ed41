"""What a training keeps: layers as they are, biases that cost nothing in silence, and neurons that remember.

Fixed layers get no gradient, and none is computed before the first layer that learns: fix the first ones, and a step costs less.

Biases: the one that a BN folds to stays below the threshold.

    b = beta - gamma mu / sigma <= limit < V_th        sigma = sqrt(var + eps)

With decay of the input a neuron without events charges to V_reset + b at most, so below V_th it never fires in silence. beta is
lowered where b is above; `bn = "frozen"` keeps mu and sigma, so that what was projected stays.

Slow neurons (PLIF, one tau a channel): a share of the channels of the two layers before the readout, the last ones. A wave has a
half period of 150 to 660 ms, and tau learned from steps of 20 ms ends at 28 to 70 ms.

    tau dt = 300 to 600 ms at the start, log-uniform over the channels; never below 200 ms        alpha = 1 / tau
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plif_train.network.layers import BatchNorm
from plif_train.network.network import Network
from runtime.base.errors import PlifError
from runtime.base.grammar import read_list
from runtime.events.framing import Framing

SLOW_US, LEAST_US, SLOW_LAYERS = (300_000.0, 600_000.0), 200_000.0, 2


def fix_layers(net: Network, names: str | None) -> None:
    """The layers of these names (conv1,conv2) get no gradients any more, nor do their BN and neurons. PlifError for a name that
    is none, and where nothing is left to train."""
    fixed = set(read_list("fixed", names, example="conv1,conv2")) if names else set()
    layers = {_block_of(name) for name, _ in net.named_parameters()}
    if strangers := sorted(fixed - layers):
        raise PlifError(f"fixed: no layer {strangers[0]} has weights, expected some of {', '.join(sorted(layers))}")
    if fixed == layers:
        raise PlifError(f"fixed: {names} are all layers; expected one at least that is trained")
    for name, parameter in net.named_parameters():
        if _block_of(name) in fixed:
            parameter.requires_grad_(False)


def _block_of(parameter: str) -> str:
    """The convolution or linear layer whose name a parameter carries: conv1.weight, conv1_bn.bias, conv1_neuron.w -> conv1"""
    return parameter.partition(".")[0].partition("_")[0]


def check_limit(net: Network, limit: float) -> None:
    """PlifError for a network that fires in silence all the same."""
    options = net.options
    if not options.decay_input:
        raise PlifError(
            "bias limit: without decay of the input a bias adds up to the threshold; expected decay_input=true"
        )
    below = options.v_threshold - (options.v_reset or 0.0)
    if limit >= below:
        raise PlifError(f"bias limit {limit}: expected less than {below:g}, the way from reset to threshold")


@torch.no_grad()
def limit_biases(net: Network, limit: float) -> None:
    """Lowers beta of every BN, in place."""
    for module in net.modules():
        if isinstance(module, BatchNorm) and module.running_mean is not None and module.running_var is not None:
            sigma = (module.running_var + module.eps).sqrt()
            module.bias.copy_(torch.minimum(module.bias, limit + module.weight * module.running_mean / sigma))


def check_slow(net: Network) -> None:
    """PlifError for a network that has no neurons to be slow."""
    if not _slow(net, 1.0):
        raise PlifError(
            "slow: expected PLIF neurons with one tau a channel in two layers before the readout, --set tau=channel"
        )
    if not _step_us(net):
        raise PlifError(f"slow: framing '{net.framing}' has no steps of one length; expected one such as duration:20ms")


def _step_us(net: Network) -> float | None:
    return Framing.parse(net.framing).step_us if net.framing else None


def _slow(net: Network, share: float) -> list[Tensor]:
    """w of the slow channels of each layer that has them, [n]: a part of the parameter itself."""
    before = [neuron.w for neuron in net.neurons().values()][-1 - SLOW_LAYERS : -1]
    return [w[len(w) - round(share * len(w)) :] for w in before if w is not None and w.dim()]


def _most_w(net: Network) -> float:
    return -math.log(LEAST_US / (_step_us(net) or 1.0) - 1)


@torch.no_grad()
def begin_slow(net: Network, share: float) -> None:
    """Sets the tau of those of this share of the channels that are not slow yet, in place."""
    step_us = _step_us(net) or 1.0
    first, last = (math.log(at / step_us) for at in SLOW_US)
    for w in _slow(net, share):
        tau = torch.exp(torch.linspace(first, last, len(w), dtype=w.dtype))
        w.copy_(torch.where(w > _most_w(net), -torch.log(tau - 1), w))


@torch.no_grad()
def keep_slow(net: Network, share: float) -> None:
    """Raises their tau to LEAST_US where it is below, in place."""
    for w in _slow(net, share):
        w.clamp_(max=_most_w(net))
