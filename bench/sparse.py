"""Times the convolution of spikes beside PyTorch's: one layer, both ways, some shares of spikes.

    python bench/sparse.py                     a layer of 128 channels on 14 x 14, as Fashion-MNIST's second
    python bench/sparse.py --channels 256 --size 16 --threads 2

Both run in turn in one process. A ratio above 1 says how many times as fast the sparse sums are. The gradient for the input,
which both leave to PyTorch, is part of the time. Up to which share they are used, WORTH in training_kernels/sparse.py says.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torch import Tensor, nn

from plif_train.hooks.training_kernels import native, sparse
from plif_train.hooks.training_kernels.allocator import keep_freed_memory
from plif_train.hooks.training_kernels.layers import TrainingConv2d

SHARES = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)


def seconds(conv: nn.Conv2d, x: Tensor, dtype: torch.dtype) -> float:
    x.grad = conv.weight.grad = None
    begun = time.perf_counter()
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        y = conv(x)
    y.backward(torch.ones_like(y))
    elapsed = time.perf_counter() - begun
    if isinstance(conv, TrainingConv2d) and "Sparse" not in str(y.grad_fn):
        raise SystemExit("bench/sparse.py: a layer of these sizes is never sparse; expected 16 channels or more")
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument("--size", type=int, default=14, help="height and width of the maps")
    parser.add_argument("--kernel", type=int, default=3)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--images", type=int, default=128, help="batch times T")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    if native.load_library() is None:
        raise SystemExit("the kernels of training are not built here (no C compiler)")
    keep_freed_memory()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    sizes = (options.channels, options.channels, options.kernel, options.stride, options.kernel // 2)
    mine, theirs = TrainingConv2d(*sizes, bias=False).train(), nn.Conv2d(*sizes, bias=False)
    layer = f"{options.channels} channels, {options.size} x {options.size}, kernel {options.kernel}, stride {options.stride}"
    print(f"{layer}; {options.images} images, {options.threads} threads")
    print(f"{'type':<10}{'spikes':>8}{'sparse':>11}{'PyTorch':>11}{'ratio':>8}{'spread':>16}{'used':>6}")
    worth, amx = sparse.MAX_DENSITY, sparse._AMX
    sparse.MAX_DENSITY, sparse._AMX = dict.fromkeys(worth, 1.0), False  # always, here
    for dtype in worth:
        for share in SHARES:
            shape = (options.images, options.channels, options.size, options.size)
            x = (torch.rand(shape) < share).to(dtype).requires_grad_(True)
            times = [(seconds(mine, x, dtype), seconds(theirs, x, dtype)) for _ in range(options.rounds + 2)][2:]
            a, b = (statistics.median(of) for of in zip(*times, strict=True))
            ratios = sorted(theirs_s / mine_s for mine_s, theirs_s in times)
            spread = f"{ratios[0]:.2f} - {ratios[-1]:.2f}"
            used = share <= worth[dtype] and not (amx and dtype == torch.bfloat16)
            kind, mark = str(dtype).removeprefix("torch."), "yes" if used else "no"
            line = f"{kind:<10}{share:>8.0%}{a * 1e3:>8.1f} ms{b * 1e3:>8.1f} ms{b / a:>8.2f}"
            print(f"{line}{spread:>16}{mark:>6}", flush=True)


if __name__ == "__main__":
    main()
