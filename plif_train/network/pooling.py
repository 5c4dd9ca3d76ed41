"""Pooling for training: nn.MaxPool2d and nn.AvgPool2d by kernels that need less memory and time.

For each maximum PyTorch keeps an int64, which is more memory than the pooled spikes themselves, and a training step is bound
by memory; here it is one byte. Values and gradients are PyTorch's, the first of equal maxima included. Used on a CPU for
kernel 2, stride 2; everything else goes to PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plif_train import native


class _HalvingPool(torch.autograd.Function):
    """[N, C, H, W] -> [N, C, H // 2, W // 2], float32 or bfloat16: the maximum or the mean of each window"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, average: bool) -> Tensor:
        x = x.contiguous()
        *planes, H, W = x.shape
        out = x.new_empty(*planes, H // 2, W // 2)
        which = None if average else torch.empty(out.shape, dtype=torch.uint8)
        of = {name: native.address(tensor) for name, tensor in (("in_", x), ("out", out), ("which", which))}
        job = native.Pool(H=H, W=W, half=x.dtype == torch.bfloat16, **of)
        native.run("plif_pool_forward", job, planes[0] * planes[1], x.numel())
        ctx.save_for_backward(which)
        ctx.shape = x.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (which,) = ctx.saved_tensors
        grad = grad.contiguous()
        gin = grad.new_empty(ctx.shape)
        N, C, H, W = ctx.shape
        of = {name: native.address(tensor) for name, tensor in (("g", grad), ("gin", gin), ("which", which))}
        job = native.Pool(H=H, W=W, half=grad.dtype == torch.bfloat16, **of)
        native.run("plif_pool_backward", job, N * C, gin.numel())
        return gin, None


def _halves(pool: nn.MaxPool2d | nn.AvgPool2d, x: Tensor) -> bool:
    """Whether the kernels serve: a training pass through windows of 2 x 2 that neither overlap nor leave the map."""
    windows = (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0) and not pool.ceil_mode
    return windows and x.requires_grad and x.dim() == 4 and min(x.shape) > 0 and min(x.shape[2:]) > 1 and native.runs(x)


class MaxPool(nn.MaxPool2d):
    """nn.MaxPool2d that needs less memory in training."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W'], float32 or bfloat16."""
        return _HalvingPool.apply(x, False) if self.dilation == 1 and _halves(self, x) else super().forward(x)


class AveragePool(nn.AvgPool2d):
    """nn.AvgPool2d that needs less time in training."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W'], float32 or bfloat16."""
        plain = self.divisor_override is None and _halves(self, x)
        return _HalvingPool.apply(x, True) if plain else super().forward(x)
