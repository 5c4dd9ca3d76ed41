"""Training layers with faster kernels: batch normalisation per time-step, pooling, convolution.

Batch normalisation: T calls of PyTorch's kernel normalise one time-step each, without a copy. (One call on [B, T C, H,
W] with T C channels gives the same numbers and took twice as long, because it has to transpose there and back.)

Pooling: nn.MaxPool2d and nn.AvgPool2d by kernels that need less memory and time.
For each maximum PyTorch keeps an int64, which is more memory than the pooled spikes themselves, and a training step is
bound by memory; here it is one byte. Values and gradients are PyTorch's, the first of equal maxima included. Used on a
CPU for kernel 2, stride 2; everything else goes to PyTorch.

Convolution: nn.Conv2d; for the first layer on events a product of matrices, and for spikes sparse sums.

    y[n] = W x cols[n],   W [out, in kh kw],   cols[n] [in kh kw, H' W']    the patches of x[n] (unfold, im2col)

A camera has two channels, so the first convolution has 18 weights an output and 128 outputs: nearly all of its work is
to write y. A library's convolution is made for many channels: it writes y in blocks and then copies it back. The
product writes y once, in its final layout (3 to 7 times faster on two x86 cores, forward and backward). It is used on a
CPU while training, if no gradient for x is needed and the patches are small. A later layer's input are spikes, few of
them: sparse.py. PyTorch's convolution does everything else. All compute the same sums, in another order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from plif_train.hooks.training_kernels import native, sparse


def batch_norm_per_step(norm: nn.BatchNorm2d, x_seq: Tensor) -> Tensor:
    """Batch-normalise a sequence [T, B, C, H, W], each time-step with its own statistics.

    The running statistics are updated T times.
    """
    assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(len(x_seq))
    y: Tensor = _BatchNormPerStep.apply(
        x_seq, norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.momentum, norm.eps
    )
    return y


class _BatchNormPerStep(torch.autograd.Function):
    """The autograd function of batch normalisation of x [T, B, C, H, W] with the statistics of each step.

    The running statistics are updated T times.
    """

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
            gx[t], gweight_t, gbias_t = torch.ops.aten.native_batch_norm_backward(
                grad_t, x[t], weight, None, None, mean[t], inverse_std[t], True, ctx.eps, [True, True, True]
            )
            gweight += gweight_t
            gbias += gbias_t
        return gx, gweight, gbias, None, None, None, None


class _HalvingPool(torch.autograd.Function):
    """The autograd function that pools 2 x 2 windows of x [N, C, H, W] to their maximum or mean."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, average: bool) -> Tensor:
        x = x.contiguous()
        *planes, H, W = x.shape
        out = x.new_empty(*planes, H // 2, W // 2)
        argmax = None if average else torch.empty(out.shape, dtype=torch.uint8)
        pointers = {
            name: native.tensor_address(tensor) for name, tensor in (("in_", x), ("out", out), ("which", argmax))
        }
        job = native.PoolCall(H=H, W=W, half=x.dtype == torch.bfloat16, **pointers)
        native.run_kernel("plif_pool_forward", job, planes[0] * planes[1], x.numel())
        ctx.save_for_backward(argmax)
        ctx.shape = x.shape
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (argmax,) = ctx.saved_tensors
        grad = grad.contiguous()
        gin = grad.new_empty(ctx.shape)
        N, C, H, W = ctx.shape
        pointers = {
            name: native.tensor_address(tensor) for name, tensor in (("g", grad), ("gin", gin), ("which", argmax))
        }
        job = native.PoolCall(H=H, W=W, half=grad.dtype == torch.bfloat16, **pointers)
        native.run_kernel("plif_pool_backward", job, N * C, gin.numel())
        return gin, None


def _pools_natively(pool: nn.MaxPool2d | nn.AvgPool2d, x: Tensor) -> bool:
    """Return whether the C kernels can compute a pooling layer on its input x [N, C, H, W].

    It must be a training pass through windows of 2 x 2 that neither overlap nor leave the map.
    """
    windows = (pool.kernel_size, pool.stride, pool.padding) == (2, 2, 0) and not pool.ceil_mode
    return (
        windows and x.requires_grad and x.dim() == 4 and min(x.shape) > 0 and min(x.shape[2:]) > 1 and native.can_run(x)
    )


class MaxPool(nn.MaxPool2d):
    """A max pooling layer (nn.MaxPool2d) that needs less memory in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Max-pool x [N, C, H, W] to [N, C, H', W'], float32 or bfloat16."""
        return _HalvingPool.apply(x, False) if self.dilation == 1 and _pools_natively(self, x) else super().forward(x)


class AveragePool(nn.AvgPool2d):
    """An average pooling layer (nn.AvgPool2d) that needs less time in training."""

    def forward(self, x: Tensor) -> Tensor:
        """Average-pool x [N, C, H, W] to [N, C, H', W'], float32 or bfloat16."""
        plain = self.divisor_override is None and _pools_natively(self, x)
        return _HalvingPool.apply(x, True) if plain else super().forward(x)


MAX_PRODUCT_WEIGHTS = 64  # weights an output; more, and the patches cost more than they save


class TrainingConv2d(nn.Conv2d):
    """A convolution (nn.Conv2d) that skips zero inputs, or uses one matrix product, if that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x [N, C, H, W] -> [N, C', H', W'], in float32, or in the type that torch autocast sets."""
        plain = self.groups == 1 and self.padding_mode == "zeros"
        trains = self.training and torch.is_grad_enabled() and x.device.type == "cpu" and x.dim() == 4 and x.numel() > 0
        if isinstance(self.padding, str) or not (plain and trains):
            return super().forward(x)
        products, autocast = (
            not x.requires_grad and self.weight[0].numel() <= MAX_PRODUCT_WEIGHTS,
            torch.is_autocast_enabled("cpu"),
        )
        if x.dtype != self.weight.dtype and not autocast:
            return super().forward(x)  # which refuses it
        if autocast and x.dtype != torch.float64:
            x = x.to(torch.get_autocast_dtype("cpu"))  # before the patches, not after
        if products:
            return self._matrix_product(x, self.padding)
        sums = None
        if self.dilation == (1, 1) and native.can_run(x, self.weight):
            sums = sparse.convolve(x, self.weight, self.stride, self.padding)
        if sums is None:
            return super().forward(x)
        return sums if self.bias is None else sums + self.bias.to(sums.dtype)[:, None, None]

    def _matrix_product(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
        out_h, out_w = (
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                x.shape[2:], padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )
        cols = F.unfold(x, self.kernel_size, self.dilation, padding, self.stride)
        y = torch.bmm(self.weight.flatten(1).expand(len(x), -1, -1), cols)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)[:, None]
        return y.unflatten(2, (out_h, out_w))


LAYERS = {nn.Conv2d: TrainingConv2d, nn.MaxPool2d: MaxPool, nn.AvgPool2d: AveragePool}
