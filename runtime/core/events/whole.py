"""Recordings as a whole: their events, and their frames.

`frames_in` makes all frames of a small recording in a file, read, decoded and framed by one call of the native library. The
interpreter's lock is free meanwhile, so threads of one program read at the same time. sample.c of libplif says which files it
takes; for all others, and without the library, the answer is None, and `frames_of` makes the same frames of their events.
"""

from __future__ import annotations

import ctypes
import math
import os
from collections.abc import Sequence
from itertools import chain, islice

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.account import Account
from runtime.core.events.array import no_events
from runtime.core.events.framer import Framer, extent_of
from runtime.core.events.framing import Framing
from runtime.core.events.sources.file import FileSource
from runtime.native import interface

FRAMES_BYTES = 2 << 30  # of the frames of one recording, which are held in memory as a whole


def read_events(path: str | os.PathLike[str], sensor: tuple[int, int] | None = None) -> np.ndarray:
    """A whole recording -> usable events [N] in file order. PlifError when it is no recording.

    What is lost (a cut file, invalid events) is known to `open_source(path)`: its `invalid` and `notes`.
    """
    packets = list(FileSource(os.fspath(path), sensor).packets(1 << 20))
    return np.concatenate(packets) if packets else no_events()


def frames_of(
    events: np.ndarray,
    framing: Framing | str,
    shape: tuple[int, int, int],
    source_size: tuple[int, int],
    upright: str = "identity",
) -> np.ndarray:
    """A whole recording -> float32 [T, C, H, W], through the same Framer that a stream uses. T may be 0.

    PlifError for a framing that makes more frames of it than fit FRAMES_BYTES.
    """
    return framed(events, framing, shape, source_size, upright)[0]


def framed(
    events: np.ndarray,
    framing: Framing | str,
    shape: tuple[int, int, int],
    source_size: tuple[int, int],
    upright: str = "identity",
) -> tuple[np.ndarray, Account]:
    """As `frames_of`, and where each event [N] went: it is used when it is in one of the frames."""
    most = FRAMES_BYTES // (4 * math.prod(shape))
    usable = (events["x"] < source_size[0]) & (events["y"] < source_size[1])
    parsed = Framing.parse(framing) if isinstance(framing, str) else framing
    framer = Framer(parsed, shape, source_size, extent_of(parsed, [events[usable]]), upright)
    frames = []
    for frame in islice(chain(framer.frames(events), framer.closing()), most + 1):
        frames.append(frame.x)
        framer.account.add(used=frame.events)
    if len(frames) > most:
        raise PlifError(
            f"framing {str(framer.framing)!r} makes more than {most} frames of one recording; use longer frames"
        )
    return np.stack(frames) if frames else np.zeros((0, *shape), np.float32), framer.account


SUFFIXES = (".bin", ".bs2")
MOST_BYTES = 1 << 28  # of the frames


def frames_in(
    path: str,
    framing: Framing,
    shape: Sequence[int],
    sensor: tuple[int, int] | None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, int, tuple[int, int, int, int]] | None:
    """(frames float32 [T, C, H, W], events in the file, (of these in the frames, ON, microseconds from the first to the last, and
    how many the framing does not show)), or None. No event of such a file is lost.

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
    facts = (ctypes.c_int64 * 4)()
    events = interface.library().plif_sample(
        os.fsencode(path), str(framing).encode(), (ctypes.c_int32 * 3)(*shape), *sensor, *where, facts
    )
    return None if events < 0 else (frames, events, (facts[0], facts[1], facts[2], facts[3]))
