"""Events of iniVation's software over TCP: `tcp://HOST:PORT`, as DV and dv-processing serve them. Extra [inivation].

dv-processing speaks the protocol (AEDAT 4 packets, compressed or not). Its reader cannot wait for events, it can only be polled,
so this source sleeps for a fraction of a millisecond after an empty answer. A connection that breaks is tried again,
every half second, until it is back; `end=10s` ends the stream when that takes longer.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from runtime.base.errors import MissingExtra, PlifError
from runtime.events.address import Address
from runtime.events.array import make_events
from runtime.events.sources.base import TICK, Source
from runtime.events.sources.usable import pieces, usable

if TYPE_CHECKING:
    import dv_processing

EXAMPLE = "tcp://127.0.0.1:7777"
ASK_AGAIN_S = 0.0003
TRY_AGAIN_S = 0.5


class InivationSource(Source):
    """See `Source`. Opening it connects: the server says how large the sensor is."""

    format = "inivation"
    live = True

    def __init__(self, name: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        self.address = Address.parse(name, ("sensor", "end"), EXAMPLE)
        try:
            import dv_processing
        except ImportError:
            raise MissingExtra(name, "inivation") from None
        self._dv = dv_processing
        self._end_s = self.address.seconds("end", None)
        self._stop = threading.Event()
        self._reader = self._connect()
        if self._reader is None:
            raise PlifError(f"{name}: nobody answers there; start the server (DV: the module NetOutputTcpServer) first")
        if not self._reader.isEventStreamAvailable():
            raise PlifError(f"{name}: this server sends no events; connect to the output that does")
        said = self._reader.getEventResolution()
        found = self.address.sensor(sensor) or (None if said is None else (int(said[0]), int(said[1])))
        if found is None:
            raise PlifError(f"{name}: the server does not say how large the sensor is; say it: --sensor 346x260")
        self.sensor = found

    def _connect(self) -> dv_processing.io.NetworkReader | None:
        """A reader, or None while nobody answers."""
        try:
            return self._dv.io.NetworkReader(self.address.host, self.address.port)
        except Exception:  # dv-processing raises RuntimeError and others of its own
            return None

    def close(self) -> None:
        self._stop.set()
        if not self._begun:
            self._reader = None

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE as they come; see Source."""
        self.begin(max_events)
        heard_s = time.monotonic()
        try:
            while not self._stop.is_set():
                batch = self._next_batch()
                if batch is not None:
                    yield from pieces(usable(_events(batch), self.sensor, self.losses), max_events)
                    heard_s = time.monotonic()
                elif self._reader is not None and self._reader.isRunning():
                    self._stop.wait(ASK_AGAIN_S)
                    if self.tick_s is not None and time.monotonic() - heard_s >= self.tick_s:
                        heard_s = time.monotonic()
                        yield TICK
                else:
                    yield from self._connect_again()
                    if self.lost:
                        return
        finally:
            self._reader = None  # before the server: the other order hangs in dv-processing 2.0
            self.losses.close(self.name)

    def _next_batch(self) -> dv_processing.EventStore | None:
        if self._reader is None:
            return None
        try:
            return self._reader.getNextEventBatch()
        except Exception as error:  # a broken packet, or a connection that ended inside one
            self.say(f"the connection broke ({' '.join(str(error).split())[:100]})")
            self._reader = None
            return None

    def _connect_again(self) -> Iterator[np.ndarray]:
        """Ticks until somebody answers, or the source is to end: then it is still lost."""
        self._reader = None
        lost_s = time.monotonic()
        self.went_away("the server went away: lost")
        while True:
            yield from self.ticking(self._stop, TRY_AGAIN_S)
            if self._stop.is_set() or (self._end_s is not None and time.monotonic() - lost_s >= self._end_s):
                return
            self._reader = self._connect()
            if self._reader is not None:
                self.came_back(lost_s)
                return


def _events(batch: dv_processing.EventStore) -> np.ndarray:
    """dv's timestamp int64, x and y int16, polarity int8 -> events. Negative coordinates become too large ones."""
    raw = batch.numpy()
    with suppress(AttributeError):
        raw = raw.reshape(-1)
    return make_events(
        raw["timestamp"], raw["x"].astype(np.uint16), raw["y"].astype(np.uint16), raw["polarity"].astype(bool)
    )
