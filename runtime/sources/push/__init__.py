"""A source for events that a program pushes: a camera driver, a ROS node, a custom simulator.

    source = runtime.PushSource(640, 480)
    camera.on_events(source.push)                       # from any thread; never waits
    for decision in model.stream(source):
        ...

Pushed events wait in one bounded queue. They fill blocks, so a million pushes of one event take no more memory than
one push of a million. The stream's reader thread empties the queue, not the network, so `overload=` handles overload
as for every live source (docs/live.md).
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import MAX_SIDE
from runtime.core.events.array import EVENT_DTYPE, cast_times, make_events
from runtime.core.events.size import is_size
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.usable import keep_usable, split_packets
from runtime.formats.columns import check_integer_dtypes, find_event_columns

MOST_EVENTS = 1 << 22  # in the queue: 55 MB
BLOCK = 1 << 16  # events
RAW = np.dtype((np.void, EVENT_DTYPE.itemsize))  # NumPy copies it as bytes; an event with fields is 30 times slower
EXPECTED = "expected a structured array [N] with t, x, y and p, or the four arrays (t, x, y, p), each [N]"


class PushSource(Source):
    """A source whose events a Python program pushes, from any thread.

    It ends after `end`, when all pushed events have been read.

    width, height  of the sensor, in pixels
    lost_s         seconds without a push after which the source counts as lost until the next push; None: never
    """

    format = "push"
    live = True

    def __init__(self, width: int, height: int, *, name: str = "push", lost_s: float | None = 2.0) -> None:
        super().__init__(name)
        if not is_size((width, height)):
            raise PlifError(f"PushSource({width}, {height}): expected a width and a height from 1 to {MAX_SIDE}")
        self.sensor = (width, height)
        self._lost_s = lost_s
        self._full_blocks: deque[np.ndarray] = deque()  # blocks RAW [BLOCK], the oldest first
        self._open_block, self._filled = (
            np.empty(BLOCK, RAW),
            0,
        )  # the block that is being filled, and its number of events
        self._queued = 0  # events in all blocks
        self._ended = False
        self._changed = threading.Condition()

    def push(self, events: np.ndarray | Iterable[object]) -> int:
        """Push events into the source's queue; return the number that fitted. The others are dropped and counted.

        events  a structured array [N] with the fields t (us), x, y and p, under any of the names in our formats
                (timestamp, polarity, ...), or the four as (t, x, y, p), each [N] of whole numbers. It is copied

        Events outside the sensor or with an impossible time (docs/limits.md) take room, and count as invalid when
        they are read. Raises PlifError for other input. It may be called from any thread and never waits for the
        network.
        """
        packet = _convert_events(events).view(RAW)
        with self._changed:
            if self._ended:
                return 0
            room = min(len(packet), MOST_EVENTS - self._queued)
            self._append(packet[:room])
            self.dropped += len(packet) - room
            self._changed.notify()
        return room

    def _append(self, packet: np.ndarray) -> None:
        """Copy a packet of events, RAW [N], to the end of the source's queue."""
        self._queued += len(packet)
        while len(packet):
            part = packet[: BLOCK - self._filled]
            self._open_block[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            packet = packet[len(part) :]
            if self._filled == BLOCK:
                self._full_blocks.append(self._open_block)
                self._open_block, self._filled = np.empty(BLOCK, RAW), 0

    def end(self) -> None:
        """Mark the end of the pushed events: the stream ends after those in the queue. May be called from any thread."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def close(self) -> None:
        with self._changed:
            self.dropped += self._queued
            self._full_blocks.clear()
            self._filled = self._queued = 0
        self.end()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield events [N] of EVENT_DTYPE as a program pushes them."""
        self.begin(max_events)
        heard_s, has_started = time.monotonic(), False
        while (packet := self._wait_for_events()) is not None:
            now_s = time.monotonic()
            if not len(packet):
                if not self.lost and self._lost_s is not None and now_s - heard_s >= self._lost_s:
                    self.went_away(f"nothing was pushed for {now_s - heard_s:.1f} s")
                if has_started and self.tick_s is not None:
                    yield TICK
                continue
            if self.lost and has_started:
                self.came_back(heard_s)
            self.lost, heard_s, has_started = False, now_s, True
            yield from split_packets(keep_usable(packet, self.sensor, self.losses), max_events)
        self.losses.close(self.name)

    def _wait_for_events(self) -> np.ndarray | None:
        """Wait for pushed events and return the oldest; an empty packet after the time limit; None at the end."""
        with self._changed:
            if not self._queued and not self._ended:
                limits = [s for s in (self.tick_s, None if self.lost else self._lost_s) if s is not None]
                self._changed.wait(min(limits) if limits else None)
            if not self._queued:
                return None if self._ended else TICK
            if self._full_blocks:
                packet = self._full_blocks.popleft()
            else:  # a copy, so that a block serves many pushes
                packet, self._filled = self._open_block[: self._filled].copy(), 0
            self._queued -= len(packet)
            return packet.view(EVENT_DTYPE)


def _convert_events(pushed: np.ndarray | Iterable[object]) -> np.ndarray:
    """Convert the events that a program pushes, a structured array [N] or four arrays, to EVENT_DTYPE [N]."""
    if isinstance(pushed, np.ndarray):
        if pushed.dtype == EVENT_DTYPE and pushed.ndim == 1:
            return np.asarray(pushed)
        names = pushed.dtype.names or ()
        positions = find_event_columns(names)
        if positions is None:
            raise PlifError(f"push: an array of {pushed.dtype} {list(pushed.shape)}; {EXPECTED}")
        columns = [pushed[names[positions[field]]] for field in "txyp"]
    else:
        columns = _split_columns(pushed)
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1:
        shapes = ", ".join(str(list(column.shape)) for column in columns)
        raise PlifError(f"push: t, x, y, p of shapes {shapes}; expected four arrays of one length")
    t, x, y, p = columns
    if len(t):  # [] is of float64
        check_integer_dtypes("push", {name: column.dtype for name, column in zip("txyp", columns, strict=True)})
    return make_events(cast_times(t), _clip_coordinates(x), _clip_coordinates(y), p > 0)


def _clip_coordinates(coordinates: np.ndarray) -> np.ndarray:
    """Convert event coordinates [N] to 16 bits; those that do not fit become 65535, outside every sensor."""
    if np.can_cast(coordinates.dtype, np.uint16):
        return np.ascontiguousarray(coordinates)  # NumPy copies a strided field four times slower
    return np.where((coordinates < 0) | (coordinates > 65535), 65535, coordinates)


def _split_columns(arrays: Iterable[object]) -> list[np.ndarray]:
    try:
        columns = [np.asarray(column) for column in itertools.islice(arrays, 5) if not isinstance(column, tuple)]
    except Exception:  # third-party objects may raise any type
        columns = []
    if len(columns) != 4:
        raise PlifError(f"push: found {type(arrays).__name__}; {EXPECTED}")
    return columns
