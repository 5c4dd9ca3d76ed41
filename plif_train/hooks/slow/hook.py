"""Slow neurons: PLIF channels before the readout that keep a large tau.

They are the last channels of the two layers before the readout, with one tau a channel. A wave has a half period of
150 to 660 ms, and tau learned from steps of 20 ms ends at 28 to 70 ms.

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


class SlowNeurons(Hook):
    def begin(self) -> None:
        check_slow_layers(self.net)
        init_slow_tau(self.net, vars(self.recipe)["slow"])

    def after_step(self) -> None:
        limit_slow_tau(self.net, vars(self.recipe)["slow"])


HOOK = SlowNeurons


def check_slow_layers(net: Network) -> None:
    """Refuse a network that cannot have slow neurons: no PLIF layer before the readout has one tau a channel."""
    if not _slow_channels(net, 1.0):
        raise PlifError(
            "slow: expected PLIF neurons with one tau a channel in two layers before the readout, --set tau=channel"
        )
    if not _step_us(net):
        raise PlifError(f"slow: framing '{net.framing}' has no steps of one length; expected one such as duration:20ms")


def _step_us(net: Network) -> float | None:
    return Framing.parse(net.framing).step_us if net.framing else None


def _slow_channels(net: Network, share: float) -> list[Tensor]:
    """Return a view of w (tau = 1 / sigmoid(w)) of each layer's slow channels, those with a long tau: [n].

    `share` is the share of the channels that are slow.
    """
    candidates = [neuron.w for neuron in net.neurons().values()][-1 - SLOW_LAYERS : -1]
    return [w[len(w) - round(share * len(w)) :] for w in candidates if w is not None and w.dim()]


def _largest_w(net: Network) -> float:
    return -math.log(LEAST_US / (_step_us(net) or 1.0) - 1)


@torch.no_grad()
def init_slow_tau(net: Network, share: float) -> None:
    """Set a long time constant tau for the channels chosen as slow, in place, unless it is long already."""
    step_us = _step_us(net) or 1.0
    first, last = (math.log(us / step_us) for us in SLOW_US)
    for w in _slow_channels(net, share):
        tau = torch.exp(torch.linspace(first, last, len(w), dtype=w.dtype))
        w.copy_(torch.where(w > _largest_w(net), -torch.log(tau - 1), w))


@torch.no_grad()
def limit_slow_tau(net: Network, share: float) -> None:
    """Raise the time constant tau of the channels chosen as slow to at least 200 ms, in place."""
    for w in _slow_channels(net, share):
        w.clamp_(max=_largest_w(net))
