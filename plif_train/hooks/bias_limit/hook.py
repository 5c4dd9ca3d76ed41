"""Limit on the bias of a folded batch normalisation: it stays below the threshold, so silence costs no spikes.

    b = beta - gamma mu / sigma <= limit < V_th        sigma = sqrt(var + eps)

With decay of the input a neuron without events charges to V_reset + b at most, so below V_th it never fires in
silence. beta is lowered where b is above the limit. `bn = "frozen"` keeps mu and sigma, so that the lowered beta
stays valid.
"""

from __future__ import annotations

import torch

from plif_train.core.loop.hooks import Hook
from plif_train.core.network.layers import BatchNorm
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError


class BiasLimit(Hook):
    def begin(self) -> None:
        check_bias_limit(self.net, vars(self.recipe)["bias_limit"])

    def after_step(self) -> None:
        limit_biases(self.net, vars(self.recipe)["bias_limit"])


HOOK = BiasLimit


def check_bias_limit(net: Network, limit: float) -> None:
    """Refuse a bias limit so high that biases alone, without any input, could make neurons fire."""
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
    """Lower beta of every batch normalisation, in place, so that the bias folded from it is within the limit."""
    for module in net.modules():
        if isinstance(module, BatchNorm) and module.running_mean is not None and module.running_var is not None:
            sigma = (module.running_var + module.eps).sqrt()
            module.bias.copy_(torch.minimum(module.bias, limit + module.weight * module.running_mean / sigma))
