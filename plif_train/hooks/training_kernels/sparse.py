"""Sparse convolution of spikes that skips the silent ones, for a training step on a CPU.

    y[o, q] = sum over (c, k) of W[o, c, k] x[c, p(q, k)],     dW[o, c, k] = sum over n and q of dy[o, q] x[c, p(q, k)]

Both sums need only the places where x is not zero, 2 to 15 % of a layer of spikes (native/sparse.c). The third
product of a step, the gradient for x, has no zeros to skip and stays PyTorch's. So a step can cost less than its
dense convolutions alone. Numbers are those of a convolution, W and x in the type of x and sums in float32, but that 0
times NaN or infinity is left out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from plif_train.hooks.training_kernels import native

# The largest share of nonzero inputs at which sparse sums were faster than PyTorch:
# bench/sparse.py on one thread of a Zen 4, float32 with AVX2, too.
MAX_DENSITY = {torch.float32: 0.15, torch.bfloat16: 0.08}
LANES = 16  # as in train.h
ROWS = 1 << 23  # floats of dy laid out at a time, 32 MB
_AMX = bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
Pair = tuple[int, ...]  # of height and width


def convolve(x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor | None:
    """Convolve spikes x [N, C, H, W] by adding up the weights at the nonzero inputs only -> y [N, C', H', W'].

    y has x's type. Returns None if a dense convolution is as fast (bfloat16 with matrix units, AMX; few channels; 1 x
    1; too many nonzero inputs), and if sizes do not fit, which PyTorch's convolution refuses.
    """
    N, C, H, W = x.shape
    job = _make_call(x, weight, stride, padding)
    fits = weight.shape[1] == C and job.OH > 0 and job.OW > 0 and max(C, H, W) < 1 << 15
    large = min(C, len(weight)) >= LANES and job.KH * job.KW > 1  # else the lists cost more than the zeros
    if not fits or not large or (_AMX and x.dtype == torch.bfloat16):
        return None
    x = x.contiguous()
    counts = x.new_empty(N, 2, dtype=torch.int32)
    job.x, job.counts = map(native.tensor_address, (x, counts))
    native.run_kernel("plif_sparse_count", job, N, x.numel())
    nonzeros, ones = counts.sum(0).tolist()
    if nonzeros > MAX_DENSITY[x.dtype] * x.numel():
        return None
    y: Tensor = _SparseConvolution.apply(x, weight, stride, padding, counts[:, 0].long(), nonzeros == ones)
    return y


def _make_call(x: Tensor, weight: Tensor, stride: Pair, padding: Pair, ones: bool = False) -> native.SparseCall:
    """Return the sizes of a sparse convolution as a struct for the C kernels, without its tensors."""
    N, C, H, W = x.shape
    out, _, KH, KW = weight.shape
    (sy, sx), (py, px) = stride, padding
    return native.SparseCall(
        N=N, C=C, H=H, W=W, O=out, OH=(H + 2 * py - KH) // sy + 1, OW=(W + 2 * px - KW) // sx + 1, KH=KH, KW=KW,
        stride_y=sy, stride_x=sx, pad_y=py, pad_x=px, width=-(-out // LANES) * LANES, half=x.dtype == torch.bfloat16,
        ones=ones,
    )  # fmt: skip


def _reached_outputs(size: int, out: int, kernel: int, stride: int, padding: int) -> Tensor:
    """Return the output index that each input index of a convolution adds to, [kernel position, input], int32.

    -1 stands for none.
    """
    places = torch.arange(kernel, device="cpu")[:, None]
    from_pad = torch.arange(size, device="cpu") + padding - places
    reached = from_pad.div(stride, rounding_mode="floor")
    return torch.where((from_pad % stride == 0) & (reached >= 0) & (reached < out), reached, -1).int()


class _SparseConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, counts: Tensor, ones: bool) -> Tensor:
        """Convolve x [N, C, H, W], mostly zeros (spikes), by adding up weights at its nonzero inputs only.

        counts    [N]: the number of nonzero inputs of each image
        ones      all nonzero inputs are 1
        """
        job = _make_call(x, weight, stride, padding, ones)
        N, C, taps = job.N, job.C, job.KH * job.KW
        offsets, places = counts.cumsum(0) - counts, x.new_empty(int(counts.sum()), dtype=torch.int32)
        first, of_pixel = (x.new_empty(N, size + 1, dtype=torch.int32) for size in (C, job.H * job.W))
        inputs, values = torch.empty_like(places), None if ones else x.new_empty(len(places), dtype=torch.float32)
        job.x, job.at, job.first, job.places = map(native.tensor_address, (x, offsets, first, places))
        job.of_pixel, job.inputs, job.values = map(native.tensor_address, (of_pixel, inputs, values))
        native.run_kernel("plif_sparse_list", job, N, x.numel())

        rows = x.new_zeros(taps, C, job.width, dtype=torch.float32)
        rows[..., : job.O] = weight.to(x.dtype).permute(2, 3, 1, 0).reshape(taps, C, job.O)
        y, lines = x.new_empty(N, job.O, job.OH, job.OW), x.new_empty(N, job.OW, job.width, dtype=torch.float32)
        job.w, job.y, job.rows = map(native.tensor_address, (rows, y, lines))
        native.run_kernel("plif_sparse_forward", job, N, y.numel() * C)
        ctx.save_for_backward(x, weight, offsets, first, places)
        ctx.of = stride, padding, ones
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, offsets, first, places = ctx.saved_tensors
        stride, padding, ones = ctx.of
        grad = grad.to(x.dtype).contiguous()
        gx = gw = None
        if ctx.needs_input_grad[0]:
            typed_weight, mask = weight.to(x.dtype), [True, False, False]
            gx = torch.ops.aten.convolution_backward(
                grad, x, typed_weight, None, stride, padding, [1, 1], False, [0, 0], 1, mask
            )[0]
        if ctx.needs_input_grad[1]:
            job = _make_call(x, weight, stride, padding, ones)
            N, C, size = job.N, job.C, job.OH * job.OW * job.width
            images = max(1, min(N, ROWS // size))  # images at a time
            lines = x.new_empty(images * size, dtype=torch.float32)
            sums = x.new_zeros(C, job.KH * job.KW, job.width, dtype=torch.float32)
            reach_y = job.OW * _reached_outputs(job.H, job.OH, job.KH, job.stride_y, job.pad_y)
            reach_x = _reached_outputs(job.W, job.OW, job.KW, job.stride_x, job.pad_x)
            job.rows, job.gw, job.places = map(native.tensor_address, (lines, sums, places))
            job.reach_y, job.reach_x = map(native.tensor_address, (reach_y, reach_x))
            for i in range(0, N, images):
                part = slice(i, i + images)
                job.x, job.g, job.at, job.first = map(
                    native.tensor_address, (x[part], grad[part], offsets[part], first[part])
                )
                job.N = len(x[part])
                native.run_kernel("plif_sparse_rows", job, job.N, grad[part].numel())
                native.run_kernel("plif_sparse_weights", job, C, grad[part].numel() * C)
            gw = sums[..., : job.O].reshape(C, job.KH, job.KW, job.O).permute(3, 0, 1, 2)
            gw = gw.to(weight.dtype).contiguous()
        return gx, gw, None, None, None, None
