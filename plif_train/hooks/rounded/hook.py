"""Weights that are rounded while they are learned: `weights = "int8"`, "int4" or "ternary" of a recipe.

    W[o] = scale[o] * k[o]          k = round(L / scale) in -most .. most (runtime/core/model/grids.py), o an output channel
    L   <- L - step(dloss/dW)       L are the weights that learn, in float32

The gradient passes straight through the rounding (Bengio, Leonard & Courville, arXiv:1308.3432, 2013), and the network holds W at
all times but in the optimiser's step, as in BinaryConnect (Courbariaux, Bengio & David, NIPS 2015): what is trained, evaluated
and saved is what an export keeps. The scale follows L and has no gradient: of several shares of the largest weight that with the
least squared error, as an export rounds; for three values this is the aim of TWN (Li & Liu, arXiv:1605.04711, 2016), too.

Rounded are layers that read spikes, which is what an export rounds. Batch normalisation and tau multiply an output channel when
they are folded, and its scale takes that; k stays.
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

SHARES = 21  # scales that are tried


class RoundedWeights(Hook):
    """The weights of a network that are rounded, and what they learn from.

    PlifError where no layer is to be rounded.
    """

    def start(self) -> None:
        precision = vars(self.recipe)["weights"]
        self.grid = GRIDS[precision]
        self.rounded = list(reading_spikes(self.net))
        if not self.rounded:
            raise PlifError(
                f"weights {precision}: no layer of '{self.net.notation}' reads spikes; expected one behind neurons"
            )
        self.learned = [weight.detach().clone() for weight in self.rounded]
        self._round()

    @contextmanager
    def learning(self) -> Iterator[None]:
        """A block in which the network has the weights that learn; what it leaves is learned, and rounded."""
        self._set(self.learned)
        yield
        for learned, weight in zip(self.learned, self.rounded, strict=True):
            learned.copy_(weight.detach())
        self._round()

    def _round(self) -> None:
        self._set([on_grid(learned, self.grid) for learned in self.learned])

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for weight, value in zip(self.rounded, values, strict=True):
            weight.copy_(value)


HOOK = RoundedWeights


def reading_spikes(net: Network) -> Iterator[torch.nn.Parameter]:
    """The weights [O, ...] of the layers whose input are spikes, pooled or not, in the order of the layers."""
    spikes = False
    for named in net.named_layers:
        if named.op in ("Conv", "Linear"):
            if spikes:
                yield net.get_parameter(f"{named.name}.weight")
            spikes = False
        elif named.op in ("Neuron", "BatchNorm"):
            spikes = named.op == "Neuron"


def on_grid(weight: Tensor, grid: Grid) -> Tensor:
    """Weights [O, ...] -> the nearest of each channel's grid, of the same shape and type."""
    rows = weight.flatten(1)
    usual = rows.abs().amax(1, keepdim=True) / grid.most
    best, least = rows * 0, rows.square().sum(1, keepdim=True)
    for share in torch.linspace(1.0, grid.lowest, SHARES).tolist():
        scale = usual * share
        near = (rows / scale).round_().clamp_(-grid.most, grid.most).mul_(scale)
        error = (near - rows).square_().sum(1, keepdim=True)
        best, least = torch.where(error < least, near, best), torch.minimum(error, least)
    return best.view_as(weight)
