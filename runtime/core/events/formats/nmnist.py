"""The format of N-MNIST, 5-byte events (also DVS128 Gesture clips as .bs2): no header, big-endian.

    byte 0  x        byte 1  y        byte 2  p << 7 | t[22:16]        byte 3  t[15:8]        byte 4  t[7:0]

t is in microseconds. A word with y == 240 is no event but an overflow marker: it adds 2^13 us to all times after it.
Source: Orchard et al. 2015, "Converting static image datasets to spiking neuromorphic datasets using saccades".
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.files import atomic_write
from runtime.core.events.formats.base import Format, Losses, Recording
from runtime.core.events.formats.words import Decoder, Words, decode_words

NAME = "nmnist"
WORD = 5
OVERFLOW_ROW = 240
OVERFLOW_US = 1 << 13
T_LIMIT = 1 << 23
SENSORS = ((34, 34), (128, 128), (240, 180), (304, 240))
MARKER_LIMIT = 1_000_000  # 2.3 hours, 5 MB of markers: a later time was surely not counted from the first event


def matches(head: bytes, path: Path) -> bool:
    """Return whether a file looks like an N-MNIST recording: its first event times (nearly) never step back."""
    words = np.frombuffer(head[: len(head) // WORD * WORD], np.uint8).reshape(-1, WORD)[:2000]
    named = path.suffix.lower() in (".bin", ".bs2")
    if len(words) < (1 if named else 16):
        return False
    steps = np.diff(Decoder(Words.NMNIST).feed(words[words[:, 1] != OVERFLOW_ROW], Losses())["t"])
    if len(steps) < 8:
        return True
    sane = np.mean((steps >= 0) & (steps < 1_000_000))
    varied = bool(steps.any())  # a file of zeros has perfectly ordered times too
    return varied and bool(sane >= (0.75 if named else 0.99))


def open_recording(path: Path) -> Recording:
    return Recording(NAME, lambda losses: decode_words(Decoder(Words.NMNIST), path, 0, losses), sensors=SENSORS)


def write_nmnist(path: str | os.PathLike[str], events: np.ndarray) -> None:
    """Write events [N] to a file in the 5-byte layout of N-MNIST, atomically.

    Times past 2^23 us get overflow markers. Raise PlifError when a coordinate or a time cannot be stored: x > 255, y
    > 255 or y == 240, t < 0, steps back of 8 s.
    """
    t, x, y = events["t"].astype(np.int64), events["x"], events["y"]
    bad = np.flatnonzero((x > 255) | (y > 255) | (y == OVERFLOW_ROW))
    if len(bad):
        i = int(bad[0])
        raise PlifError(f"{path}: event {i} at x={x[i]}, y={y[i]} does not fit the 5-byte layout (0..255, y not 240)")
    # the number of markers before each event, so that the remainder of its time fits 23 bits
    needed = np.maximum.accumulate(np.maximum(0, -(-(t - (T_LIMIT - 1)) // OVERFLOW_US))) if len(t) else t
    remainder = t - needed * OVERFLOW_US
    bad = np.flatnonzero((remainder < 0) | (needed > MARKER_LIMIT))
    if len(bad):
        i = int(bad[0])
        raise PlifError(
            f"{path}: the time of event {i}, {int(t[i])} us, does not fit the 5-byte layout "
            f"(0 to about {MARKER_LIMIT * OVERFLOW_US // 1_000_000} s, in order): subtract the first event's time"
        )
    words = np.zeros((len(t), WORD), np.uint8)
    words[:, 0], words[:, 1] = x, y
    words[:, 2] = (remainder >> 16) | np.where(events["p"], 0x80, 0)
    words[:, 3], words[:, 4] = (remainder >> 8) & 0xFF, remainder & 0xFF
    markers = np.diff(needed, prepend=0)
    words = np.insert(words, np.repeat(np.arange(len(t)), markers), np.array([0, OVERFLOW_ROW, 0, 0, 0], np.uint8), 0)
    with atomic_write(Path(path)) as (target,):
        target.write_bytes(words.tobytes())


FORMAT = Format(open_recording, matches)
