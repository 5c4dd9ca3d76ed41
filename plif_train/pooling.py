"""Max-pooling for training: nn.MaxPool2d that stores the place of each maximum in one byte instead of eight.

PyTorch keeps an int64 for each output, which is more memory than the pooled spikes themselves, and a training step is bound
by memory. Values and gradients are PyTorch's, the first of equal maxima included. Used on a CPU for kernel 2, stride 2;
everything else goes to PyTorch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plif_train import native


class _HalvingPool(torch.autograd.Function):
    """[N, C, H, W] -> [N, C, H // 2, W // 2], float32 or bfloat16"""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        *planes, H, W = x.shape
        out = x.new_empty(*planes, H // 2, W // 2)
        which = torch.empty(out.shape, dtype=torch.uint8)
        of = {"in_": x.data_ptr(), "out": out.data_ptr(), "which": which.data_ptr()}
        job = native.Pool(H=H, W=W, half=x.dtype == torch.bfloat16, **of)
        native.run("plif_pool_forward", job, planes[0] * planes[1], x.numel())
        ctx.save_for_backward(which)
        ctx.shape = x.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (which,) = ctx.saved_tensors
        grad = grad.contiguous()
        gin = grad.new_empty(ctx.shape)
        N, C, H, W = ctx.shape
        of = {"g": grad.data_ptr(), "gin": gin.data_ptr(), "which": which.data_ptr()}
        job = native.Pool(H=H, W=W, half=grad.dtype == torch.bfloat16, **of)
        native.run("plif_pool_backward", job, N * C, gin.numel())
        return gin


class MaxPool(nn.MaxPool2d):
    """nn.MaxPool2d that needs less memory in training."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H', W'], float32 or bfloat16."""
        halves = (self.kernel_size, self.stride, self.padding, self.dilation) == (2, 2, 0, 1) and not self.ceil_mode
        if halves and x.requires_grad and x.dim() == 4 and min(x.shape) > 0 and min(x.shape[2:]) > 1 and native.runs(x):
            return _HalvingPool.apply(x)
        return super().forward(x)
