"""Convolution for training: nn.Conv2d, and for the first layer on events a product of matrices.

    y[n] = W x cols[n],   W [out, in kh kw],   cols[n] [in kh kw, H' W']    the patches of x[n] (unfold, im2col)

A camera has two channels, so the first convolution has 18 weights an output and 128 outputs: nearly all of its work is to
write y. A library's convolution is made for many channels: it writes y in blocks and then copies it back. The product writes
y once, in its final layout (3 to 7 times faster on two x86 cores, forward and backward). It is used on a CPU while training,
where no gradient for x is wanted and the patches are small; PyTorch's convolution does everything else. Both compute the same
sums, in another order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FEW = 64  # weights an output; more, and the patches cost more than they save


class Conv(nn.Conv2d):
    """nn.Conv2d, as a product of matrices where that is faster."""

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C', H', W'], float32, or what autocast makes of it."""
        plain = self.groups == 1 and self.padding_mode == "zeros"
        wanted = self.training and torch.is_grad_enabled() and not x.requires_grad and x.device.type == "cpu"
        if isinstance(self.padding, str) or not (plain and wanted and self.weight[0].numel() <= FEW and x.numel()):
            return super().forward(x)
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))  # before the patches, not after
        out_h, out_w = (
            (size + 2 * pad - dilation * (kernel - 1) - 1) // stride + 1
            for size, pad, dilation, kernel, stride in zip(
                x.shape[2:], self.padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )
        cols = F.unfold(x, self.kernel_size, self.dilation, self.padding, self.stride)
        y = torch.bmm(self.weight.flatten(1).expand(len(x), -1, -1), cols)
        if self.bias is not None:
            y = y + self.bias.to(y.dtype)[:, None]
        return y.unflatten(2, (out_h, out_w))
