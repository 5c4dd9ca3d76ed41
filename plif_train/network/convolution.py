"""Convolution for training: nn.Conv2d; for the first layer on events a product of matrices, and for spikes sparse sums.

    y[n] = W x cols[n],   W [out, in kh kw],   cols[n] [in kh kw, H' W']    the patches of x[n] (unfold, im2col)

A camera has two channels, so the first convolution has 18 weights an output and 128 outputs: nearly all of its work is to
write y. A library's convolution is made for many channels: it writes y in blocks and then copies it back. The product writes
y once, in its final layout (3 to 7 times faster on two x86 cores, forward and backward). It is used on a CPU while training,
where no gradient for x is wanted and the patches are small. A later layer's input are spikes, few of them: sparse.py.
PyTorch's convolution does everything else. All compute the same sums, in another order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plif_train import native
from plif_train.network import sparse

FEW = 64  # weights an output; more, and the patches cost more than they save


class Conv(nn.Conv2d):
    """nn.Conv2d, as a product of matrices or as sparse sums where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W'], float32, or what autocast makes of it."""
        plain = self.groups == 1 and self.padding_mode == "zeros"
        wanted = self.training and torch.is_grad_enabled() and x.device.type == "cpu" and x.dim() == 4 and x.numel() > 0
        if isinstance(self.padding, str) or not (plain and wanted):
            return super().forward(x)
        products, autocast = not x.requires_grad and self.weight[0].numel() <= FEW, torch.is_autocast_enabled("cpu")
        if x.dtype != self.weight.dtype and not autocast:
            return super().forward(x)  # which refuses it
        if autocast and x.dtype != torch.float64:
            x = x.to(torch.get_autocast_dtype("cpu"))  # before the patches, not after
        if products:
            return self._products(x, self.padding)
        sums = None
        if self.dilation == (1, 1) and native.runs(x, self.weight):
            sums = sparse.convolve(x, self.weight, self.stride, self.padding)
        if sums is None:
            return super().forward(x)
        return sums if self.bias is None else sums + self.bias.to(sums.dtype)[:, None, None]

    def _products(self, x: Tensor, padding: tuple[int, ...]) -> Tensor:
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
