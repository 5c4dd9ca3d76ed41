"""Memory for what is fuzzed: buffers of an exact size, with the sanitizer's walls on both sides; and numbers that hurt."""

from __future__ import annotations

import ctypes as c

import numpy as np

NUMBERS = (
    -(1 << 63),
    -(1 << 31),
    -64,
    -1,
    0,
    1,
    2,
    3,
    15,
    16,
    63,
    64,
    65,
    127,
    128,
    129,
    255,
    256,
    65535,
    65536,
    1 << 24,
    (1 << 31) - 1,
)
LIBC = c.CDLL(None)
LIBC.memalign.restype, LIBC.memalign.argtypes = c.c_void_p, [c.c_size_t, c.c_size_t]
LIBC.free.restype, LIBC.free.argtypes = None, [c.c_void_p]
SANITIZED = hasattr(LIBC, "__asan_poison_memory_region")


class Room:
    """Buffers of exactly so many bytes, with the sanitizer's walls on both sides; all are given back at the end."""

    def __init__(self) -> None:
        self.all: list[int] = []
        self.forbidden: list[tuple[int, int]] = []

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        for at, size in self.forbidden:
            LIBC["__asan_unpoison_memory_region"](c.c_void_p(at), c.c_size_t(size))
        for at in self.all:
            LIBC.free(at)

    def take(self, size: int, content: bytes | None = None) -> int:
        """`size` bytes at a multiple of 64: `content`, or zeros."""
        at = LIBC.memalign(64, max(size, 1))
        self.all.append(at)
        c.memset(at, 0, size)
        if content is not None:
            c.memmove(at, content, min(size, len(content)))
        return int(at)

    def forbid(self, at: int, size: int) -> None:
        """From now on, touching these bytes is a fault."""
        if SANITIZED:
            LIBC["__asan_poison_memory_region"](c.c_void_p(at), c.c_size_t(size))
            self.forbidden.append((at, size))

    def numbers(self, values: list[int]) -> int:
        return self.take(8 * len(values), np.array(values, np.int64).tobytes())
