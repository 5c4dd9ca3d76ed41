"""Complete recordings: their events, and their frames.

`read_frames` reads, decodes and frames a small recording by one call of the native library, without the interpreter's
lock, so that threads of one program read at the same time. sample.c of libplif says which files it takes. For all
others, and without the library, it returns None, and `make_frames` makes the same frames of the events.
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
from runtime.core.events.array import empty_events
from runtime.core.events.framer import Framer, measure_extent
from runtime.core.events.framing import Framing
from runtime.core.events.sources.file import FileSource
from runtime.native import interface

FRAMES_BYTES = 2 << 30  # of the frames of one recording, which are held in memory as a whole


def read_events(path: str | os.PathLike[str], sensor: tuple[int, int] | None = None) -> np.ndarray:
    """Read all usable events [N] of a recording, in file order; refuse a file that is no recording.

    `open_source(path)` counts the losses (a cut file, invalid events) in its `invalid` and `notes`.
    """
    packets = list(FileSource(os.fspath(path), sensor).packets(1 << 20))
    return np.concatenate(packets) if packets else empty_events()


def make_frames(
    events: np.ndarray,
    framing: Framing | str,
    shape: tuple[int, int, int],
    source_size: tuple[int, int],
    upright: str = "identity",
) -> np.ndarray:
    """Convert the events [N] of a complete recording to frames float32 [T, C, H, W].

    They go through the same Framer that a stream uses. T may be 0. Raise PlifError for a framing that makes more
    frames than fit FRAMES_BYTES.
    """
    return frame_and_count(events, framing, shape, source_size, upright)[0]


def frame_and_count(
    events: np.ndarray,
    framing: Framing | str,
    shape: tuple[int, int, int],
    source_size: tuple[int, int],
    upright: str = "identity",
) -> tuple[np.ndarray, Account]:
    """Convert the events [N] of a recording to frames float32 [T, C, H, W]; also return the account of its events.

    An event is used if it is in one of the frames. See `make_frames`.
    """
    most = FRAMES_BYTES // (4 * math.prod(shape))
    inside = (events["x"] < source_size[0]) & (events["y"] < source_size[1])
    parsed = Framing.parse(framing) if isinstance(framing, str) else framing
    framer = Framer(parsed, shape, source_size, measure_extent(parsed, [events[inside]]), upright)
    frames = []
    for frame in islice(chain(framer.iter_frames(events), framer.iter_last_frames()), most + 1):
        frames.append(frame.x)
        framer.account.add(used=frame.events)
    if len(frames) > most:
        raise PlifError(
            f"framing {str(framer.framing)!r} makes more than {most} frames of one recording; use longer frames"
        )
    return np.stack(frames) if frames else np.zeros((0, *shape), np.float32), framer.account


SUFFIXES = (".bin", ".bs2")
MOST_BYTES = 1 << 28  # of the frames


def read_frames(
    path: str,
    framing: Framing,
    shape: Sequence[int],
    sensor: tuple[int, int] | None,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, int, tuple[int, int, int, int]] | None:
    """Read a small recording file into frames by one native call; return None where that cannot be done.

    Return (frames float32 [T, C, H, W], events in the file, (events in the frames, ON events, microseconds from the
    first event to the last, events that the framing does not show)). No event of such a file is lost.

    shape   (C, H, W) of a frame
    sensor  (width, height); None if unknown
    out     the memory of the frames, of that shape, each frame contiguous; a new array when None
    """
    T = framing.T
    if sensor is None or T is None or not path.endswith(SUFFIXES):
        return None
    if 4 * T * math.prod(shape) > MOST_BYTES:
        return None
    frames = np.empty((T, *shape), np.float32) if out is None else out
    layout = (frames.ctypes.data, frames.strides[0] // 4, T)
    facts = (ctypes.c_int64 * 4)()
    events = interface.library().plif_sample(
        os.fsencode(path), str(framing).encode(), (ctypes.c_int32 * 3)(*shape), *sensor, *layout, facts
    )
    return None if events < 0 else (frames, events, (facts[0], facts[1], facts[2], facts[3]))
