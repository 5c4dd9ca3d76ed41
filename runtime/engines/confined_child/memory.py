"""The memory that a program shares with the confined process that runs its engine.

It is a file without a name (memfd). Before the process starts it holds the request as JSON: what to open and how. Then it
holds the arrays of one call at a time, each at a multiple of ALIGNMENT bytes, and grows with the largest session:

    x      float32 [steps, rows, C, H, W]     steps of one call each: MOST_STEPS, or as many as fit into PIECE bytes
    y      float32 [steps, rows, classes]
    rates  float32 [steps, values of a call], one array for each layer that is counted
    v      float32 [rows, ...], one array for each of the card's states

Nobody can make the file smaller (a seal), since a program that reads behind the end of a file is killed. The limits of the
process let it write to no file, so it cannot make this one larger. Both sides compute the places from the card; no place is
ever sent.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.buffers import Buffers

ALIGNMENT = 64
MOST_STEPS, PIECE = 64, 8 << 20  # steps and bytes of x that one message carries; one step may be larger


class CallArrays(NamedTuple):
    """The arrays of calls in shared memory; see above."""

    x: np.ndarray
    y: np.ndarray
    rates: list[np.ndarray]
    v: list[np.ndarray]


class SharedMemory:
    """Shared memory behind a descriptor, as numpy arrays."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def close(self) -> None:
        os.close(self.descriptor)

    def share_arrays(self, buffers: Buffers, v: Sequence[np.ndarray], grows: bool = False) -> CallArrays:
        """Return the arrays for the calls of a session, which lie at the beginning of the memory.

        v      float32 [rows, ...], arrays of the shapes of the session's membranes
        grows  make the memory larger where it is too small; otherwise that is a ValueError
        """
        steps = max(1, min(MOST_STEPS, PIECE // max(buffers.x.nbytes, 1)))
        shapes = [(steps, *buffers.x.shape), (steps, *buffers.y.shape)]
        shapes += [(steps, values.size) for values in buffers.rates.values()] + [array.shape for array in v]
        places = list(_find_places(shapes))
        size = places.pop()
        if grows and os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, 1 << (size - 1).bit_length())  # doubled: few mappings, however many sizes
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.descriptor, os.fstat(self.descriptor).st_size)
        x, y, *others = [
            np.frombuffer(self._map, np.float32, math.prod(shape), place).reshape(shape)
            for shape, place in zip(shapes, places, strict=True)
        ]
        return CallArrays(x, y, others[: len(buffers.rates)], others[len(buffers.rates) :])


def create_memory(content: bytes) -> SharedMemory:
    """Create shared memory that holds some bytes and can grow but not shrink. Raises PlifError."""
    try:
        if sys.platform != "linux":  # without a seal
            with tempfile.TemporaryFile() as file:
                descriptor = os.dup(file.fileno())
        else:
            descriptor = os.memfd_create("plif", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        with open(os.dup(descriptor), "wb") as file:
            file.write(content)
    except OSError as error:
        raise PlifError(
            f"no memory can be shared here with a confined process ({error.strerror}); if you trust the file, give its "
            "--sha256, or --confined off"
        ) from None
    return SharedMemory(descriptor)


def _find_places(shapes: Sequence[Sequence[int]]) -> Iterator[int]:
    """Yield the place in bytes of each float32 array, and at last the size of all."""
    place = 0
    for shape in shapes:
        yield place
        place += -(-4 * math.prod(shape) // ALIGNMENT) * ALIGNMENT
    yield max(place, 1)
