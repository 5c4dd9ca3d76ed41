"""Layers of a network besides neurons: batch normalisation [T, B, C, H, W], dropout, votes.

Batch normalisation has statistics per time-step or over all of them:

    per step    mean and variance of each step over B, H, W: equal to T calls of a BN layer, and to the authors' code
    joint       mean and variance over T, B, H, W: equal to SpikingJelly's multi-step mode
    frozen      the running statistics, in training too; they do not change: for comparisons

The running statistics get T updates in the order of the steps (per step) or one (joint). In eval mode both are the
same function.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.core.parts import load_from_parts

LAYERS: dict[type[nn.Module], type[nn.Module]] = load_from_parts("hooks", "training_layers") or {}
PER_STEP = load_from_parts("hooks", "batch_norm_per_step")
MODES = ("per-step", "joint", "frozen")


def faster_layer(layer: type[nn.Module]) -> type[nn.Module]:
    """Return the faster training version of a PyTorch layer class, if an installed plug-in part has one.

    Without such a part it is the class itself.
    """
    return LAYERS.get(layer, layer)


class BatchNorm(nn.BatchNorm2d):
    """A batch normalisation layer for one time-step [N, C, H, W], or for a sequence [T, B, C, H, W]; float32.

    It extends nn.BatchNorm2d; `mode` is one of MODES.
    """

    mode = "joint"

    def forward(self, x: Tensor) -> Tensor:
        """Apply batch normalisation to one time-step [N, C, H, W] and return the same shape."""
        if self.mode == "frozen":
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)

    def forward_sequence(self, x_seq: Tensor) -> Tensor:
        """Normalise a sequence [T, B, C, H, W], with batch statistics per step or joint, as `mode` says."""
        if self.mode != "per-step" or not self.training or len(x_seq) == 1:
            return self(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2])
        return PER_STEP(self, x_seq) if PER_STEP else torch.stack([self(x) for x in x_seq])


class SequenceDropout(nn.Module):
    """A dropout layer that keeps one random mask for all time-steps, drawn at the first step after reset().

    In eval mode it is the identity.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.mask: Tensor | None = None

    def reset(self) -> None:
        self.mask = None

    def forward(self, x: Tensor) -> Tensor:
        """Apply the dropout mask to one time-step [B, ...]; return the same shape and type."""
        return x * self._mask_for(x) if self.training else x

    def forward_sequence(self, x_seq: Tensor) -> Tensor:
        """Apply the dropout mask to a sequence [T, B, ...]; return the same shape and type."""
        return x_seq * self._mask_for(x_seq[0]) if self.training else x_seq

    def _mask_for(self, x: Tensor) -> Tensor:
        if self.mask is None:
            self.mask = F.dropout(torch.ones_like(x), self.p, training=True).detach()
        return self.mask


class Vote(nn.Module):
    """The readout layer of the PLIF paper: the mean of every `voters` neighbouring neurons is one class output."""

    def __init__(self, voters: int) -> None:
        super().__init__()
        self.voters = voters

    def forward(self, x: Tensor) -> Tensor:
        """Average spikes [N, classes * voters] into votes [N, classes] of the same type."""
        return F.avg_pool1d(x.unsqueeze(1), self.voters, self.voters).squeeze(1)
