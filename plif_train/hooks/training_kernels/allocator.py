"""Memory allocator settings that keep freed memory in the process, for several times faster training on a CPU.

glibc returns every large block to the kernel when a tensor is freed, and the next tensor faults it in again page by
page. A training step makes and frees hundreds of such tensors. Two settings of malloc stop that; they hold for the
entire process and cost memory that stays reserved. Without glibc nothing happens. Measured on two busy cores, a batch
of 32 of the N-MNIST network: 3.5 s without and 0.22 s with them on two threads, 0.55 s and 0.40 s on one.
"""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # <malloc.h>


def keep_freed_memory() -> bool:
    """Make the C allocator (malloc) keep freed memory for reuse; return whether it accepted that setting."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
