"""The kernels of a training step on a CPU (train.c): finds the library that was built with the package, and calls it.

Without it (no C compiler, another processor than the one it was built for, or PLIF_TRAIN_NATIVE=0) PyTorch's operations do
the same, slower. Work is split into parts over threads, as many as PyTorch's own; the result does not depend on how many.
"""

from __future__ import annotations

import ctypes as c
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BLOCK = 2048  # as in train.c: the neurons whose gradient of alpha is one sum
SURROGATES = ("atan", "piecewise")
VARIABLE = "PLIF_TRAIN_NATIVE"
WORTHWHILE = 1 << 16  # elements a thread: below, a thread costs more than it brings


class RuleStruct(c.Structure):
    """The constants of a neuron as train.c has them, struct rule. charge: 0 IF, 1 decay_input, 2 the input as it is."""

    _fields_ = (
        *((name, c.c_int32) for name in ("charge", "soft", "surrogate", "half")),
        *((name, c.c_float) for name in ("v_threshold", "v_reset")),
    )


@cache
def library() -> c.CDLL | None:
    """The library, or None where it was not built."""
    for path in sorted(Path(__file__).parent.glob("_train*.so")):
        try:
            found = c.CDLL(str(path))
            p: Any = c.c_void_p
            n: Any = c.c_int64
            for function, types in (
                (found.plif_train_forward, [p, n, p, p, n, p, p, p, n, n, n, n, p]),
                (found.plif_train_backward, [p, n, p, p, n, p, p, p, p, p, p, n, n, n, n, p]),
                (found.plif_pool_forward, [p, p, p, n, n, n, n, c.c_int32]),
                (found.plif_pool_backward, [p, p, p, n, n, n, n, c.c_int32]),
            ):
                function.restype, function.argtypes = None, types
        except (OSError, AttributeError):
            continue  # built for another machine, or another version
        return found
    return None


def runs(*tensors: Tensor) -> bool:
    """Whether the kernels take these tensors [...]: on a CPU, float32 or bfloat16, and the library is there. torch.compile
    cannot look into them, so it gets PyTorch's own operations."""
    return (
        not torch.compiler.is_compiling()
        and all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.bfloat16) for t in tensors)
        and os.environ.get(VARIABLE) != "0"
        and library() is not None
    )


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="plif-train")


def share(work: Callable[[int, int], None], count: int, size: int, unit: int = 1) -> None:
    """Calls work(from, to) for parts of 0..count in threads. Parts end at multiples of `unit`; there are more than one where
    the `size` elements in all are worth a thread."""
    threads = max(1, min(torch.get_num_threads(), size // WORTHWHILE, -(-count // unit)))
    if threads == 1:
        work(0, count)
        return
    units = -(-count // unit)
    borders = [min(count, units * i // threads * unit) for i in range(threads + 1)]
    parts = [
        _pool(threads, os.getpid()).submit(work, start, stop)  # a forked child has none of its parent's threads
        for start, stop in pairwise(borders[1:])
    ]
    work(borders[0], borders[1])
    for part in parts:
        part.result()


def run(kernel: str, count: int, size: int, *arguments: Any, unit: int = 1) -> None:
    """A kernel of train.c over 0..count, shared as `share` says: its arguments, but for the part (from, to), which stands
    before the last of them. Tensors must be contiguous where the kernel takes no stride."""
    function = getattr(library(), kernel)
    *front, last = (a.data_ptr() if isinstance(a, Tensor) else a for a in arguments)
    share(lambda start, stop: function(*front, start, stop, last), count, size, unit)


def forward(x: Tensor, v: Tensor, alpha: Tensor, rule: RuleStruct, h: Tensor, s: Tensor, end: Tensor) -> None:
    """x [T, N] (a step may be of stride 0), v [N], alpha [] or [N] -> fills h, s [T, N] and end [N]; float32, x and s
    also bfloat16."""
    T, N = x.shape
    assert x.stride(1) == 1 and all(t.is_contiguous() for t in (v, alpha, h, s, end))
    assert h.shape == s.shape == x.shape and v.shape == end.shape == (N,) and alpha.shape in ((), (N,))
    each = int(alpha.dim() > 0)
    run("plif_train_forward", N, T * N, x, x.stride(0), v, alpha, each, h, s, end, T, N, c.byref(rule), unit=BLOCK)


def backward(
    x: Tensor, v: Tensor, alpha: Tensor, rule: RuleStruct, h: Tensor, gs: Tensor, gv_end: Tensor, gx: Tensor, gv: Tensor
) -> Tensor:
    """The gradients gs [T, N] of the spikes and gv_end [N] of the last v -> fills gx [T, N] and gv [N], of the first v;
    returns the gradient of alpha, as alpha is: [] or [N]."""
    T, N = h.shape
    assert x.stride(1) == 1 and all(t.is_contiguous() for t in (v, alpha, h, gs, gv_end, gx, gv))
    assert x.shape == gs.shape == gx.shape == h.shape and alpha.shape in ((), (N,))
    assert v.shape == gv_end.shape == gv.shape == (N,)
    each = int(alpha.dim() > 0)
    galpha = torch.empty(N if each else -(-N // BLOCK))
    run(
        "plif_train_backward", N, T * N,
        x, x.stride(0), v, alpha, each, h, gs, gv_end, gx, gv, galpha, T, N, c.byref(rule), unit=BLOCK,
    )  # fmt: skip
    return galpha if each else galpha.sum()
