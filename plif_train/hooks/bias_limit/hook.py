"""Biases that cost nothing in silence: the one that a BN folds to stays below the threshold.

    b = beta - gamma mu / sigma <= limit < V_th        sigma = sqrt(var + eps)

With decay of the input a neuron without events charges to V_reset + b at most, so below V_th it never fires in silence. beta is
lowered where b is above; `bn = "frozen"` keeps mu and sigma, so that what was projected stays.
"""

from __future__ import annotations

import torch

from plif_train.core.loop.hooks import Hook
from plif_train.core.network.layers import BatchNorm
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError


class BiasLimit(Hook):
    def begin(self) -> None:
        check_limit(self.net, vars(self.recipe)["bias_limit"])

    def stepped(self) -> None:
        limit_biases(self.net, vars(self.recipe)["bias_limit"])


HOOK = BiasLimit


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
