"""What every source of events offers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import EVENT_DTYPE
from runtime.events.formats.base import Log

TICK = np.empty(0, EVENT_DTYPE)


class Source(Protocol):
    """Events in bounded packets, from a file or live."""

    name: str  # what the user typed
    format: str  # "nmnist", "evt3", "csv", ...
    sensor: tuple[int, int]  # (width, height)
    upright: str  # how the stored view becomes upright: "identity", "rotate180" or "flip_y"
    live: bool  # cannot be read twice
    notes: list[str]  # one line for each thing lost; complete once packets() has ended

    @property
    def invalid(self) -> int:
        """Events found so far that cannot be used (outside the sensor, invalid bit, ...)."""
        ...

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events in file order, at most `max_events` at a time. A recording starts afresh at each call."""
        ...

    def count(self) -> int:
        """How many events packets() yields over a whole recording. PlifError for a live source."""
        ...


def waits(source: Source) -> bool:
    """Whether its sender waits until we read; a source that says nothing of it is none that does."""
    return bool(getattr(source, "waits", False))


class LiveSource:
    """What live sources share. They also have what the loop looks for beyond `Source`:

    endless   what it shows changes, and no end is in sight: a stream of it does not add up for ever (runtime.stream.run)
    waits     the sender waits until we read (a pipe): nothing need be dropped when the network is slow
    returns   how often the source was lost and came back; raised before the first packet after it
    dropped   events that were lost before we could read them, where their number is known
    say       called with one line when something happens that a person should know at once
    close()   ends packets(), from any thread
    tick_s    where it is set, packets() also gives an empty packet (TICK) whenever nothing came for so long
    lost      whether nothing is known of the scene now: no sender, no connection, no camera
    """

    upright = "identity"
    live = True
    endless = True
    waits = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.returns = 0
        self.dropped = 0
        self.tick_s: float | None = None
        self.lost = False
        self.say: Callable[[str], None] = lambda text: None
        self.log = Log()
        self.notes = self.log.notes
        self._begun = False

    @property
    def invalid(self) -> int:
        return self.log.invalid

    def begin(self, max_events: int) -> None:
        """Every packets() calls it first."""
        if max_events < 1:
            raise PlifError(f"{self.name}: packets of {max_events} events; expected at least 1")
        if self._begun:
            raise PlifError(f"{self.name}: a live source cannot be read twice: record it to a file first")
        self._begun = True

    def ticking(self, stop: threading.Event, seconds: float) -> Iterator[np.ndarray]:
        """So many seconds of waiting, with their ticks; no longer than until `stop`."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            if stop.wait(left_s if self.tick_s is None else min(left_s, self.tick_s)):
                return
            if self.tick_s is not None:
                yield TICK

    def count(self) -> int:
        raise PlifError(f"{self.name}: a live source has no number of events: record it to a file first")

    def close(self) -> None:
        pass
