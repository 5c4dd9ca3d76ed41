"""Batch normalisation of a sequence [T, B, C, H, W], with statistics per time-step or over all of them.

    per step    mean and variance of each step over B, H, W: what T calls of a BN layer do, and the authors' code did
    joint       mean and variance over T, B, H, W: what SpikingJelly's multi-step mode does
    frozen      the running statistics, in training too; they do not change: for comparisons

The running statistics get T updates in the order of the steps (per step) or one (joint). In eval mode both are the same
function.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runtime.core.parts import given_by_parts

LAYERS: dict[type[nn.Module], type[nn.Module]] = given_by_parts("hooks", "training_layers") or {}
PER_STEP = given_by_parts("hooks", "batch_norm_per_step")
MODES = ("per-step", "joint", "frozen")


def faster(layer: type[nn.Module]) -> type[nn.Module]:
    """What a part has in place of a layer of PyTorch; the layer itself where there is none."""
    return LAYERS.get(layer, layer)


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d for one time-step, [N, C, H, W], and for a sequence; `mode` is one of MODES. Float32."""

    mode = "joint"

    def forward(self, x: Tensor) -> Tensor:
        """One time-step [N, C, H, W] -> the same shape."""
        if self.mode == "frozen":
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)

    def multi(self, x_seq: Tensor) -> Tensor:
        """A sequence [T, B, C, H, W] -> the same shape, with the statistics that `mode` says."""
        if self.mode != "per-step" or not self.training or len(x_seq) == 1:
            return self(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2])
        return PER_STEP(self, x_seq) if PER_STEP else torch.stack([self(x) for x in x_seq])
