"""Frames that overlap (`duration:40ms,every=10ms`): each is the sum of the last k pieces of time, k = 40 / 10.

    x_n = c_n + c_(n-1) + ... + c_(n-k+1)        binary: at most 1        c_n: the events of piece n, which lasts `every`

The grid, the account and the clock are those of the pieces: a frame's start, end and number of events are those of its newest
piece, so that every event counts once, although k frames show it. After a gap the older pieces are forgotten.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from runtime.events.frame import Frame


class Overlap:
    """The last pieces [C, H, W] of one recording; `empty` is the array of a piece without events, which is not added."""

    def __init__(self, pieces: int, empty: np.ndarray) -> None:
        self._before: deque[np.ndarray] = deque(maxlen=pieces - 1)
        self._empty = empty

    KEEPS = ("pieces",)

    @property
    def pieces(self) -> np.ndarray:
        """float32 [k - 1, C, H, W], the last pieces, the oldest first; a missing one is as good as one without events."""
        missing = (self._before.maxlen or 0) - len(self._before)
        return np.stack([*([self._empty] * missing), *self._before])

    @pieces.setter
    def pieces(self, values: np.ndarray) -> None:
        self._before.extend(values)

    def extend(self, frame: Frame, binary: bool) -> None:
        """Adds the pieces before to a frame that holds one piece; `frame.newest` is then that piece."""
        if frame.discontinuity or frame.restart:
            self._before.clear()
        piece = frame.newest = frame.x
        for older in self._before:
            if older is not self._empty:
                frame.x = np.maximum(frame.x, older) if binary else frame.x + older
        self._before.append(piece)
