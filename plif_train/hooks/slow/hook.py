"""Slow neurons (PLIF, one tau a channel): a share of the channels of the two layers before the readout, the last ones.

A wave has a half period of 150 to 660 ms, and tau learned from steps of 20 ms ends at 28 to 70 ms.

    tau dt = 300 to 600 ms at the start, log-uniform over the channels; never below 200 ms        alpha = 1 / tau
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plif_train.core.loop.hooks import Hook
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.events.framing import Framing

SLOW_US, LEAST_US, SLOW_LAYERS = (300_000.0, 600_000.0), 200_000.0, 2


class Slow(Hook):
    def begin(self) -> None:
        check_slow(self.net)
        begin_slow(self.net, vars(self.recipe)["slow"])

    def stepped(self) -> None:
        keep_slow(self.net, vars(self.recipe)["slow"])


HOOK = Slow


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
