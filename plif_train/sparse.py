"""A convolution of spikes that skips the silent ones, in a training step on a CPU.

    y[o, q] = sum over (c, k) of W[o, c, k] x[c, p(q, k)],     dW[o, c, k] = sum over n and q of dy[o, q] x[c, p(q, k)]

Both sums need only the places where x is not zero, 2 to 15 % of a layer of spikes (native/sparse.c). The third product of a
step, the gradient for x, has no zeros to skip and stays PyTorch's. So a step can cost less than its dense convolutions alone.
Numbers are those of a convolution: W and x in the type of x, sums in float32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from plif_train import native

# Up to which share of inputs other than zero this was faster (Zen 4, one thread; float32 also with AVX2: bench/sparse.py).
WORTH = {torch.float32: 0.15, torch.bfloat16: 0.08}
LANES = 16  # as in sparse.c
ROWS = 1 << 23  # floats of dy laid out at a time, 32 MB
_AMX = bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())


def convolve(x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...]) -> Tensor | None:
    """x [N, C, H, W], W [C', C, KH, KW] -> y [N, C', H', W'] of x's type; None where a dense convolution is as fast: for
    bfloat16 with matrix units (AMX), for few channels, and where too many inputs are not zero."""
    N, C, H, W = x.shape
    if (_AMX and x.dtype == torch.bfloat16) or C < LANES or len(weight) < LANES or max(C, H, W) >= 1 << 15:
        return None
    x = x.contiguous()
    counts = torch.empty(N, 2, dtype=torch.int32)
    job = _job(x, weight, stride, padding, counts=counts.data_ptr())
    native.run("plif_sparse_count", job, N, x.numel())
    some, ones = counts.sum(0).tolist()
    if some > WORTH[x.dtype] * x.numel():
        return None
    job.ones = some == ones
    y: Tensor = _Sparse.apply(x, weight, job, counts[:, 0].long())
    return y


def _job(x: Tensor, weight: Tensor, stride: tuple[int, ...], padding: tuple[int, ...], **more: Any) -> native.Sparse:
    N, C, H, W = x.shape
    out, _, KH, KW = weight.shape
    (sy, sx), (py, px) = stride, padding
    return native.Sparse(
        x=x.data_ptr(), half=x.dtype == torch.bfloat16, N=N, C=C, H=H, W=W, O=out, width=-(-out // LANES) * LANES,
        OH=(H + 2 * py - KH) // sy + 1, OW=(W + 2 * px - KW) // sx + 1,
        KH=KH, KW=KW, stride_y=sy, stride_x=sx, pad_y=py, pad_x=px, **more,
    )  # fmt: skip


def _reach(size: int, out: int, kernel: int, stride: int, padding: int) -> Tensor:
    """[kernel, size], int32: the output that an input reaches through a place of the kernel, negative for none."""
    from_pad = torch.arange(size) + padding - torch.arange(kernel)[:, None]
    reached = from_pad.div(stride, rounding_mode="floor")
    return torch.where((from_pad % stride == 0) & (reached >= 0) & (reached < out), reached, -1).int()


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, job: native.Sparse, counts: Tensor) -> Tensor:
        N, C, H, W = x.shape
        out, _, KH, KW = weight.shape
        at, places = counts.cumsum(0) - counts, torch.empty(int(counts.sum()), dtype=torch.int32)
        first, of_pixel = torch.empty(N, C + 1, dtype=torch.int32), torch.empty(N, H * W + 1, dtype=torch.int32)
        inputs, values = torch.empty_like(places), None if job.ones else torch.empty(len(places))
        job.at, job.first, job.places = map(native.address, (at, first, places))
        job.of_pixel, job.inputs, job.values = map(native.address, (of_pixel, inputs, values))
        native.run("plif_sparse_list", job, N, x.numel())

        rows = torch.zeros(KH * KW, C, job.width)
        rows[..., :out] = weight.detach().to(x.dtype).permute(2, 3, 1, 0).reshape(KH * KW, C, out)
        y = x.new_empty(N, out, job.OH, job.OW)
        lines = torch.empty(N, job.OW, job.width)
        job.w, job.y, job.rows = map(native.address, (rows, y, lines))
        native.run("plif_sparse_forward", job, N, y.numel() * C)
        ctx.save_for_backward(x, weight, at, first, places)
        ctx.job = job
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, at, first, places = ctx.saved_tensors
        job: native.Sparse = ctx.job
        N, C, out, taps = job.N, job.C, job.O, job.KH * job.KW
        grad = grad.to(x.dtype).contiguous()
        gx = gw = None
        if ctx.needs_input_grad[0]:
            stride, padding = [job.stride_y, job.stride_x], [job.pad_y, job.pad_x]
            of, mask = weight.detach().to(x.dtype), [True, False, False]
            gx = torch.ops.aten.convolution_backward(
                grad, x, of, None, stride, padding, [1, 1], False, [0, 0], 1, mask
            )[0]
        if ctx.needs_input_grad[1]:
            size = job.OH * job.OW * job.width
            some = max(1, min(N, ROWS // size))
            lines, sums = torch.empty(some * size), torch.zeros(C, taps, job.width)
            reach_y = job.OW * _reach(job.H, job.OH, job.KH, job.stride_y, job.pad_y)
            reach_x = _reach(job.W, job.OW, job.KW, job.stride_x, job.pad_x)
            job.rows, job.gw, job.places = map(native.address, (lines, sums, places))
            job.reach_y, job.reach_x = map(native.address, (reach_y, reach_x))
            for i in range(0, N, some):
                part = slice(i, i + some)
                job.x, job.g, job.at, job.first = map(native.address, (x[part], grad[part], at[part], first[part]))
                job.N = len(x[part])
                native.run("plif_sparse_rows", job, job.N, grad[part].numel())
                native.run("plif_sparse_weights", job, C, grad[part].numel() * C)
            job.N = N
            gw = sums[..., :out].reshape(C, job.KH, job.KW, out).permute(3, 0, 1, 2).to(weight.dtype).contiguous()
        return gx, gw, None, None
