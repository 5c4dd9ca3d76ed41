"""Events that a program has already: a camera's driver, a ROS node, a simulator of one's own.

    source = runtime.PushSource(640, 480)
    camera.on_events(source.push)                       # from any thread; never waits
    for decision in model.stream(source):
        ...

The events that are pushed wait in one queue, which is bounded. The stream's reader thread empties it, not the network, so that
overload is handled where it is for every live source, by `overload=` (docs/live.md).
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import EVENT_DTYPE, find_fields, make_events
from runtime.events.size import LONGEST, is_size
from runtime.events.sources.base import TICK, Source
from runtime.events.sources.usable import pieces, usable

MOST_EVENTS = 1 << 22  # that may wait: 64 MB


class PushSource(Source):
    """See `Source`. It ends when `end` was called and everything that was pushed before has been read.

    width, height  of the sensor, in pixels
    lost_s         nothing was pushed for so many seconds: the source counts as lost until the next push; None: never
    """

    format = "push"
    live = True

    def __init__(self, width: int, height: int, *, name: str = "push", lost_s: float | None = 2.0) -> None:
        super().__init__(name)
        if not is_size((width, height)):
            raise PlifError(f"PushSource({width}, {height}): expected a width and a height from 1 to {LONGEST}")
        self.sensor = (width, height)
        self._lost_s = lost_s
        self._queue: deque[np.ndarray] = deque()
        self._waiting = 0  # events in the queue
        self._ended = False
        self._changed = threading.Condition()

    def push(self, events: np.ndarray | Sequence[Any]) -> int:
        """Adds events, and returns how many of them there was room for; the others are dropped and counted.

        events  a structured array [N] with the fields t (us), x, y and p, whatever they are called in the formats that we
                read (timestamp, polarity, ...), or the four as (t, x, y, p), each [N]. It is copied
        Raises PlifError for anything else. It may be called from any thread and never waits for the network.
        """
        packet = _events(events)
        with self._changed:
            if self._ended:
                return 0
            room = min(len(packet), MOST_EVENTS - self._waiting)
            if room:
                self._queue.append(packet[:room])
                self._waiting += room
            self.dropped += len(packet) - room
            self._changed.notify()
        return room

    def end(self) -> None:
        """No more events come: the stream ends when it has seen those that were pushed. From any thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.dropped += self._waiting
            self._queue.clear()
            self._waiting = 0
        self.end()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE as they are pushed; see Source."""
        self.begin(max_events)
        heard_s, ever = time.monotonic(), False
        while (packet := self._next()) is not None:
            now_s = time.monotonic()
            if not len(packet):
                if not self.lost and self._lost_s is not None and now_s - heard_s >= self._lost_s:
                    self.went_away(f"nothing was pushed for {now_s - heard_s:.1f} s")
                if ever and self.tick_s is not None:
                    yield TICK
                continue
            if self.lost and ever:
                self.came_back(heard_s)
            self.lost, heard_s, ever = False, now_s, True
            yield from pieces(usable(packet, self.sensor, self.losses), max_events)
        self.losses.close(self.name)

    def _next(self) -> np.ndarray | None:
        """The oldest packet; an empty one where nothing came in the time that matters; None at the end."""
        with self._changed:
            if not self._queue and not self._ended:
                limits = [s for s in (self.tick_s, None if self.lost else self._lost_s) if s is not None]
                self._changed.wait(min(limits) if limits else None)
            if self._queue:
                packet = self._queue.popleft()
                self._waiting -= len(packet)
                return packet
            return None if self._ended else TICK


def _events(given: np.ndarray | Sequence[Any]) -> np.ndarray:
    """A copy as events [N] of EVENT_DTYPE. Coordinates that do not fit 16 bits become 65535, outside of every sensor."""
    if isinstance(given, np.ndarray) and given.dtype == EVENT_DTYPE and given.ndim == 1:
        return given.copy()
    columns: list[np.ndarray]
    if isinstance(given, np.ndarray) and given.dtype.names is not None:
        found = find_fields(given.dtype.names)
        if found is None:
            raise PlifError(f"push: an array with the fields {', '.join(given.dtype.names)}; expected t, x, y and p")
        columns = [given[given.dtype.names[found[field]]] for field in "txyp"]
    elif len(given) == 4:
        columns = [np.asarray(column) for column in given]
    else:
        raise PlifError("push: expected a structured array with t, x, y and p, or the four arrays (t, x, y, p)")
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise PlifError(f"push: t, x, y, p of shapes {shapes}; expected four arrays of one length")
    t, x, y, p = columns
    if not all(np.issubdtype(column.dtype, np.integer) or column.dtype == bool for column in columns):
        kinds = ", ".join(str(column.dtype) for column in columns)
        raise PlifError(f"push: t, x, y, p are {kinds}; expected whole numbers, t in microseconds")
    x, y = (np.where((column < 0) | (column > 65535), 65535, column) for column in (x, y))
    return make_events(t.astype(np.int64), x, y, p > 0)
