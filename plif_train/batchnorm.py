"""Batch normalisation of a sequence [T, B, C, H, W], with statistics per time-step or over all of them.

    per step    mean and variance of each step over B, H, W: what T calls of a BN layer do, and the authors' code did
    joint       mean and variance over T, B, H, W: what SpikingJelly's multi-step mode does
    frozen      the running statistics, in training too: for fine-tuning, and for batches too small to have statistics

The running statistics get T updates in the order of the steps (per step) or one (joint). In eval mode both are the same
function. The steps need no loop: [T, B, C, H, W] with a BN for each (t, c) is [B, T C, H, W] with T C channels. With
momentum 1 that one call leaves the T batch statistics in its buffers, and

    running <- (1 - m)^T running + sum_t m (1 - m)^(T - 1 - t) statistic_t

is the T updates in order, written at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODES = ("per-step", "joint", "frozen")


class BatchNorm(nn.BatchNorm2d):
    """nn.BatchNorm2d that knows about time. `mode` is one of MODES."""

    mode = "joint"

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W]
        if self.mode == "frozen":
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)

    def multi(self, x_seq: Tensor) -> Tensor:  # [T, B, C, H, W]
        if self.mode != "per-step" or not self.training or len(x_seq) == 1:
            return self(x_seq.flatten(0, 1)).unflatten(0, x_seq.shape[:2])
        T, B, C = x_seq.shape[:3]
        momentum = self.momentum
        assert self.running_mean is not None and self.running_var is not None and momentum is not None
        wide = x_seq.transpose(0, 1).reshape(B, T * C, *x_seq.shape[3:])
        mean, var = self.running_mean.repeat(T), self.running_var.repeat(T)  # overwritten: momentum 1
        y = F.batch_norm(wide, mean, var, self.weight.repeat(T), self.bias.repeat(T), True, 1.0, self.eps)
        with torch.no_grad():
            age = torch.arange(T - 1, -1, -1, device=mean.device, dtype=mean.dtype)
            share = (momentum * (1 - momentum) ** age)[:, None]  # [T, 1]
            for running, each in ((self.running_mean, mean), (self.running_var, var)):
                running.mul_((1 - momentum) ** T).add_((share * each.view(T, C)).sum(0))
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(T)
        return y.view(B, T, *x_seq.shape[2:]).transpose(0, 1).contiguous()
