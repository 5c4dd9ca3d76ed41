"""Events that a program has already: a camera's driver, a ROS node, a simulator of one's own.

    source = runtime.PushSource(640, 480)
    camera.on_events(source.push)                       # from any thread; never waits
    for decision in model.stream(source):
        ...

The events that are pushed wait in one queue, which is bounded. They fill blocks, so that a million pushes of one event take the
room of one push of a million. The stream's reader thread empties the queue, not the network, so that overload is handled where
it is for every live source, by `overload=` (docs/live.md).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import LONGEST
from runtime.core.events.array import EVENT_DTYPE, as_times, make_events
from runtime.core.events.size import is_size
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.usable import pieces, usable
from runtime.formats.columns import check_kinds, find_fields

MOST_EVENTS = 1 << 22  # that may wait: 55 MB
BLOCK = 1 << 16  # events
RAW = np.dtype((np.void, EVENT_DTYPE.itemsize))  # NumPy copies it as bytes, and an event of fields 30 times slower
EXPECTED = "expected a structured array [N] with t, x, y and p, or the four arrays (t, x, y, p), each [N]"


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
        self._full: deque[np.ndarray] = deque()  # blocks RAW [BLOCK], the oldest first
        self._open, self._filled = np.empty(BLOCK, RAW), 0  # the block after them, and its events
        self._waiting = 0  # events in all blocks
        self._ended = False
        self._changed = threading.Condition()

    def push(self, events: np.ndarray | Iterable[object]) -> int:
        """Adds events, and returns how many of them there was room for; the others are dropped and counted.

        events  a structured array [N] with the fields t (us), x, y and p, whatever they are called in the formats that we
                read (timestamp, polarity, ...), or the four as (t, x, y, p), each [N] of whole numbers. It is copied
        What lies outside the sensor or has an impossible time (docs/limits.md) takes room, and counts as invalid when it is read.
        Raises PlifError for anything else. It may be called from any thread and never waits for the network.
        """
        packet = _events(events).view(RAW)
        with self._changed:
            if self._ended:
                return 0
            room = min(len(packet), MOST_EVENTS - self._waiting)
            self._fill(packet[:room])
            self.dropped += len(packet) - room
            self._changed.notify()
        return room

    def _fill(self, packet: np.ndarray) -> None:
        """Copies RAW [N] behind what waits."""
        self._waiting += len(packet)
        while len(packet):
            part = packet[: BLOCK - self._filled]
            self._open[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            packet = packet[len(part) :]
            if self._filled == BLOCK:
                self._full.append(self._open)
                self._open, self._filled = np.empty(BLOCK, RAW), 0

    def end(self) -> None:
        """No more events come: the stream ends when it has seen those that were pushed. From any thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.dropped += self._waiting
            self._full.clear()
            self._filled = self._waiting = 0
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
        """The oldest events; none where nothing came in the time that matters; None at the end."""
        with self._changed:
            if not self._waiting and not self._ended:
                limits = [s for s in (self.tick_s, None if self.lost else self._lost_s) if s is not None]
                self._changed.wait(min(limits) if limits else None)
            if not self._waiting:
                return None if self._ended else TICK
            if self._full:
                packet = self._full.popleft()
            else:  # a copy, so that a block serves many pushes
                packet, self._filled = self._open[: self._filled].copy(), 0
            self._waiting -= len(packet)
            return packet.view(EVENT_DTYPE)


def _events(given: np.ndarray | Iterable[object]) -> np.ndarray:
    """As events [N] of EVENT_DTYPE."""
    if isinstance(given, np.ndarray):
        if given.dtype == EVENT_DTYPE and given.ndim == 1:
            return np.asarray(given)
        names = given.dtype.names or ()
        found = find_fields(names)
        if found is None:
            raise PlifError(f"push: an array of {given.dtype} {list(given.shape)}; {EXPECTED}")
        columns = [given[names[found[field]]] for field in "txyp"]
    else:
        columns = _columns(given)
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise PlifError(f"push: t, x, y, p of shapes {shapes}; expected four arrays of one length")
    t, x, y, p = columns
    if len(t):  # [] is of float64
        check_kinds("push", {name: column.dtype for name, column in zip("txyp", columns, strict=True)})
    return make_events(as_times(t), _coordinates(x), _coordinates(y), p > 0)


def _coordinates(given: np.ndarray) -> np.ndarray:
    """Whole numbers [N]; those that do not fit 16 bits become 65535, outside of every sensor."""
    if np.can_cast(given.dtype, np.uint16):
        return np.ascontiguousarray(given)  # from field to field NumPy needs four times as long
    return np.where((given < 0) | (given > 65535), 65535, given)


def _columns(given: Iterable[object]) -> list[np.ndarray]:
    try:
        columns = [np.asarray(column) for column in itertools.islice(given, 5) if not isinstance(column, tuple)]
    except Exception:  # objects of other libraries raise what they like
        columns = []
    if len(columns) != 4:
        raise PlifError(f"push: found {type(given).__name__}; {EXPECTED}")
    return columns
