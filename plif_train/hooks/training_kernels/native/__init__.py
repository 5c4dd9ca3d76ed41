"""Native CPU kernels of a training step (native/*.c): loads the library built with the package, and calls it.

Without it (no C compiler, another processor than the one it was built for, or PLIF_TRAIN_NATIVE=0) PyTorch's
operations do the same, slower. Work is split into parts over PyTorch's own threads (share.c), or, if its OpenMP is
not GNU's, over as many of ours; the result does not depend on the number of threads.
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
MIN_THREAD_ELEMENTS = 1 << 16  # elements a thread: below, a thread costs more than it saves
PARTS_PER_THREAD = 4  # a thread: a slow thread leaves the remaining parts to the others


class Layer(c.Structure):
    """The C struct `layer` of train.c: tensors, sizes and constants of a neuron layer to train.

    charge: 0 IF, 1 decay_input, 2 the input is not decayed.
    """

    _fields_ = (
        *((name, c.c_void_p) for name in ("x", "gs", "v0", "alpha", "gv_end", "s", "gx", "v_end", "gv0", "galpha")),
        *((name, c.c_int64) for name in ("T", "N", "block", "width", "once", "each")),
        *((name, c.c_int64) for name in ("charge", "soft", "surrogate", "half")),
        *((name, c.c_float) for name in ("v_threshold", "v_reset")),
    )


class PoolCall(c.Structure):
    """The C struct `pool` of pool.c: tensors and sizes of a call of the pooling kernels."""

    _fields_ = (
        *((name, c.c_void_p) for name in ("in_", "g", "out", "gin", "which")),
        *((name, c.c_int64) for name in ("H", "W", "half")),
    )


class SparseCall(c.Structure):
    """The C struct `sparse` of sparse.c: tensors and sizes of a convolution that skips zero inputs."""

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
def load_library() -> c.CDLL | None:
    """Load the C library of the training kernels, or return None if it was not built."""
    for path in sorted(Path(__file__).parent.glob("_train*.so")):
        try:
            lib = c.CDLL(str(path))
            for kernel in (getattr(lib, f"plif_{name}") for name in KERNELS):
                kernel.restype, kernel.argtypes = None, [c.c_void_p, c.c_int64, c.c_int64]
            p: Any = c.c_void_p
            lib.plif_share.restype, lib.plif_share.argtypes = None, [p, p, p, c.c_int64, c.c_int64, c.c_int32]
        except (OSError, AttributeError):
            continue  # built for another machine, or another version
        return lib
    return None


@cache
def _gomp_parallel() -> Any:
    """Return the function GOMP_parallel of the OpenMP library that PyTorch has loaded, or None.

    plif_share runs the kernels with it.
    """
    torch_library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        return c.CDLL(str(torch_library)).GOMP_parallel
    except (OSError, AttributeError):
        return None


def can_run(*tensors: Tensor) -> bool:
    """Return whether the C training kernels can run on these tensors: on a CPU, float32 or bfloat16.

    torch.compile cannot look into the kernels, so it gets PyTorch's operations.
    """
    return (
        not torch.compiler.is_compiling()
        and all(t.device.type == "cpu" and t.dtype in (torch.float32, torch.bfloat16) for t in tensors)
        and os.environ.get(VARIABLE) != "0"
        and load_library() is not None
    )


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="plif-train")


def run_kernel(kernel: str, job: c.Structure, count: int, size: int, unit: int = 1) -> None:
    """Run a C kernel of the training library over the range 0..count, split among threads.

    Parts end at multiples of `unit`. There are as many threads as PyTorch has, if the `size` elements in all are
    worth a thread.
    """
    lib = load_library()
    assert lib is not None
    work, threads = (
        getattr(lib, kernel),
        max(1, min(torch.get_num_threads(), size // MIN_THREAD_ELEMENTS, -(-count // unit))),
    )
    if threads == 1:
        work(c.byref(job), 0, count)
        return
    units, in_threads = -(-count // unit), _gomp_parallel()
    if in_threads is not None:
        part = -(-units // (PARTS_PER_THREAD * threads)) * unit
        lib.plif_share(in_threads, work, c.byref(job), count, part, threads)
        return
    borders = [min(count, units * i // threads * unit) for i in range(threads + 1)]
    parts = [
        _pool(threads, os.getpid()).submit(
            work, c.byref(job), start, stop
        )  # a forked child has no threads of its parent
        for start, stop in pairwise(borders[1:])
    ]
    work(c.byref(job), borders[0], borders[1])
    for part_done in parts:
        part_done.result()


def tensor_address(tensor: Tensor | None) -> int | None:
    """Return the memory address of a contiguous tensor [...]; None stays None, a null pointer."""
    assert tensor is None or tensor.is_contiguous()
    return None if tensor is None else tensor.data_ptr()
