"""Batch normalisation of a sequence [T, B, C, H, W], with statistics per time-step or over all of them.

    per step    mean and variance of each step over B, H, W: what T calls of a BN layer do, and the authors' code did
    joint       mean and variance over T, B, H, W: what SpikingJelly's multi-step mode does
    frozen      the running statistics, in training too; they do not change: for comparisons

The running statistics get T updates in the order of the steps (per step) or one (joint). In eval mode both are the same
function. Per step, T calls of PyTorch's kernel normalise one time-step each, without a copy. (One call on [B, T C, H, W] with
T C channels gives the same numbers and took twice as long, because it has to transpose there and back.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MODES = ("per-step", "joint", "frozen")


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
        assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(len(x_seq))
        y: Tensor = _PerStep.apply(
            x_seq, self.weight, self.bias, self.running_mean, self.running_var, self.momentum, self.eps
        )
        return y


class _PerStep(torch.autograd.Function):
    """x [T, B, C, H, W] -> the same, each step with its own statistics; updates the running ones T times."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        momentum: float,
        eps: float,
    ) -> Tensor:
        x = x.contiguous()
        y = torch.empty_like(x)
        mean = weight.new_empty(len(x), len(weight))
        inverse_std = torch.empty_like(mean)
        for t, x_t in enumerate(x):
            torch.ops.aten.native_batch_norm.out(
                x_t, weight, bias, running_mean, running_var, True, momentum, eps,
                out=y[t], save_mean=mean[t], save_invstd=inverse_std[t],
            )  # fmt: skip
        ctx.save_for_backward(x, weight, mean, inverse_std)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_std = ctx.saved_tensors
        gx, gweight, gbias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        for t, grad_t in enumerate(grad.contiguous()):
            gx[t], of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
                grad_t, x[t], weight, None, None, mean[t], inverse_std[t], True, ctx.eps, [True, True, True]
            )
            gweight += of_weight
            gbias += of_bias
        return gx, gweight, gbias, None, None, None, None
