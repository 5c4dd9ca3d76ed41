"""Quantisation-aware training: the recipe key `weights` = "int8", "int4" or "ternary" rounds learned weights.

    W[o] = scale[o] * k[o]      k = round(L / scale) in -most .. most (runtime/core/model/grids.py), o: output channel
    L   <- L - step(dloss/dW)   L are the master weights that learn, in float32

The gradient passes straight through the rounding (Bengio, Leonard & Courville, arXiv:1308.3432, 2013). The network
holds W at all times but in the optimiser's step, as in BinaryConnect (Courbariaux, Bengio & David, NIPS 2015): the
trained, evaluated and saved weights are those that an export keeps. The scale follows L and has no gradient. Of
several shares of the largest weight it is the one with the least squared error, as an export rounds. For three values
this is the aim of TWN (Li & Liu, arXiv:1605.04711, 2016), too.

Rounded are layers that read spikes, which are those that an export rounds. Batch normalisation and tau multiply an
output channel when they are folded, and its scale takes that; k stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from plif_train.core.loop.hooks import Hook
from plif_train.core.network.network import Network
from runtime.core.base.errors import PlifError
from runtime.core.model.grids import GRIDS, Grid

SHARES = 21  # candidate scales of a channel


class RoundedWeights(Hook):
    """The hook of quantisation-aware training: the network gets rounded weights, the optimiser float32 ones.

    Raises PlifError if no layer can be rounded.
    """

    def start(self) -> None:
        precision = vars(self.recipe)["weights"]
        self.grid = GRIDS[precision]
        self.parameters = list(find_spike_weights(self.net))
        if not self.parameters:
            raise PlifError(
                f"weights {precision}: no layer of '{self.net.notation}' reads spikes; expected one behind neurons"
            )
        self.master_weights = [weight.detach().clone() for weight in self.parameters]
        self._round()

    @contextmanager
    def use_master_weights(self) -> Iterator[None]:
        """Give the network its unrounded float32 weights for a block, then round what the block left there."""
        self._set_weights(self.master_weights)
        yield
        for master, weight in zip(self.master_weights, self.parameters, strict=True):
            master.copy_(weight.detach())
        self._round()

    def _round(self) -> None:
        self._set_weights([round_to_grid(master, self.grid) for master in self.master_weights])

    @torch.no_grad()
    def _set_weights(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.parameters, values, strict=True):
            weight.copy_(value)


HOOK = RoundedWeights


def find_spike_weights(net: Network) -> Iterator[torch.nn.Parameter]:
    """Yield the weights [O, ...] of the layers whose input is spikes, in the order of the layers.

    Pooled spikes count as spikes.
    """
    spikes = False
    for named in net.named_layers:
        if named.op in ("Conv", "Linear"):
            if spikes:
                yield net.get_parameter(f"{named.name}.weight")
            spikes = False
        elif named.op in ("Neuron", "BatchNorm"):
            spikes = named.op == "Neuron"


def round_to_grid(weight: Tensor, grid: Grid) -> Tensor:
    """Round weights [O, ...] to the nearest values of each output channel's integer grid."""
    rows = weight.flatten(1)
    full_scale = rows.abs().amax(1, keepdim=True) / grid.max_level
    best, least_error = rows * 0, rows.square().sum(1, keepdim=True)
    for share in torch.linspace(1.0, grid.lowest, SHARES).tolist():
        scale = full_scale * share
        rounded = (rows / scale).round_().clamp_(-grid.max_level, grid.max_level).mul_(scale)
        error = (rounded - rows).square_().sum(1, keepdim=True)
        best, least_error = torch.where(error < least_error, rounded, best), torch.minimum(error, least_error)
    return best.view_as(weight)
