"""All frames of a small recording in a file, read, decoded and framed by one call of the native library.

The interpreter's lock is free meanwhile, so threads of one program read at the same time. sample.c of libplif says which
files it takes; for all others, and without the library, the answer is None, and `frames_of` makes the same frames of their
events.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence

import numpy as np

from runtime.events.framing import Framing
from runtime.native import interface

SUFFIXES = (".bin", ".bs2")
MOST_BYTES = 1 << 28  # of the frames


def frames_in(
    path: str,
    framing: Framing,
    shape: Sequence[int],
    sensor: tuple[int, int] | None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, int, int] | None:
    """(frames float32 [T, C, H, W], events in the file, and of these in the frames), or None. No event of such a file is lost.

    shape   (C, H, W) of a frame
    sensor  (width, height); None where nobody knows it
    out     where the frames go, of that shape, each frame contiguous; a new array when None
    """
    T = framing.T
    if sensor is None or T is None or not path.endswith(SUFFIXES):
        return None
    if 4 * T * math.prod(shape) > MOST_BYTES:
        return None
    frames = np.empty((T, *shape), np.float32) if out is None else out
    where = (frames.ctypes.data, frames.strides[0] // 4, T)
    used = ctypes.c_int64()
    events = interface.library().plif_sample(
        os.fsencode(path), str(framing).encode(), (ctypes.c_int32 * 3)(*shape), *sensor, *where, ctypes.byref(used)
    )
    return None if events < 0 else (frames, events, used.value)
