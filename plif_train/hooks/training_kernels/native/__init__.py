"""The kernels of a training step on a CPU (native/*.c): finds the library that was built with the package, and calls it.

Without it (no C compiler, another processor than the one it was built for, or PLIF_TRAIN_NATIVE=0) PyTorch's operations do
the same, slower. Work is split into parts over PyTorch's own threads (share.c), or, where its OpenMP is not GNU's, over as many
of ours; the result does not depend on how many.
"""

from __future__ import annotations

import ctypes as c
import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LIMIT, BLOCK = 1 << 15, 2048  # as in train.c: floats of h in a block over all steps, and the most neurons in it
SURROGATES = ("atan", "piecewise")
VARIABLE = "PLIF_TRAIN_NATIVE"
WORTHWHILE = 1 << 16  # elements a thread: below, a thread costs more than it brings
PARTS = 4  # a thread: one that is late leaves the rest to the others


class Layer(c.Structure):
    """struct layer of train.c. charge: 0 IF, 1 decay_input, 2 the input as it is."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("x", "gs", "v0", "alpha", "gv_end", "s", "gx", "v_end", "gv0", "galpha")),
        *((name, c.c_int64) for name in ("T", "N", "block", "width", "once", "each")),
        *((name, c.c_int64) for name in ("charge", "soft", "surrogate", "half")),
        *((name, c.c_float) for name in ("v_threshold", "v_reset")),
    )


class PoolCall(c.Structure):
    """struct pool of pool.c."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("in_", "g", "out", "gin", "which")),
        *((name, c.c_int64) for name in ("H", "W", "half")),
    )


class Sparse(c.Structure):
    """struct sparse of sparse.c."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("x", "g", "w", "y", "rows", "gw", "counts", "at", "places", "first")),
        *((name, c.c_void_p) for name in ("inputs", "of_pixel", "values", "reach_y", "reach_x")),
        *((name, c.c_int64) for name in ("N", "C", "H", "W", "O", "OH", "OW", "KH", "KW", "stride_y", "stride_x")),
        *((name, c.c_int64) for name in ("pad_y", "pad_x", "width", "half", "ones")),
    )


KERNELS = (
    *("train_forward", "train_backward", "pool_forward", "pool_backward"),
    *(f"sparse_{name}" for name in ("count", "list", "forward", "rows", "weights")),
)


@cache
def library() -> c.CDLL | None:
    """The library, or None where it was not built."""
    for path in sorted(Path(__file__).parent.glob("_train*.so")):
        try:
            found = c.CDLL(str(path))
            for kernel in (getattr(found, f"plif_{name}") for name in KERNELS):
                kernel.restype, kernel.argtypes = None, [c.c_void_p, c.c_int64, c.c_int64]
            p: Any = c.c_void_p
            found.plif_share.restype, found.plif_share.argtypes = None, [p, p, p, c.c_int64, c.c_int64, c.c_int32]
        except (OSError, AttributeError):
            continue  # built for another machine, or another version
        return found
    return None


@cache
def _in_threads() -> Any:
    """GOMP_parallel of the OpenMP library that PyTorch itself has loaded, for plif_share; None where it has another."""
    torch_library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        return c.CDLL(str(torch_library)).GOMP_parallel
    except (OSError, AttributeError):
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


def run(kernel: str, job: c.Structure, count: int, size: int, unit: int = 1) -> None:
    """A kernel of the library on the parts of 0..count, which end at multiples of `unit`. There are several, in as many threads
    as PyTorch has, where the `size` elements in all are worth a thread."""
    found = library()
    assert found is not None
    work, threads = getattr(found, kernel), max(1, min(torch.get_num_threads(), size // WORTHWHILE, -(-count // unit)))
    if threads == 1:
        work(c.byref(job), 0, count)
        return
    units, in_threads = -(-count // unit), _in_threads()
    if in_threads is not None:
        part = -(-units // (PARTS * threads)) * unit
        found.plif_share(in_threads, work, c.byref(job), count, part, threads)
        return
    borders = [min(count, units * i // threads * unit) for i in range(threads + 1)]
    parts = [
        _pool(threads, os.getpid()).submit(work, c.byref(job), start, stop)  # a forked child has none of its parent's
        for start, stop in pairwise(borders[1:])
    ]
    work(c.byref(job), borders[0], borders[1])
    for part_done in parts:
        part_done.result()


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor [...] lies in memory, which must be contiguous; None stays None, a null pointer."""
    assert tensor is None or tensor.is_contiguous()
    return None if tensor is None else tensor.data_ptr()
