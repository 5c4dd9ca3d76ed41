"""Events of iniVation's software over TCP: `tcp://HOST:PORT`, as DV and dv-processing serve them. Extra [inivation].

dv-processing speaks the protocol (AEDAT 4 packets, compressed or not). Since a server may be anybody's, it does so in a process
of its own that may connect and do nothing else (read.py). A connection that breaks is tried again, every half second,
until it is back; `end=10s` ends the stream when that takes longer.
"""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE

import numpy as np

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.events.size import is_size
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.usable import pieces, usable
from runtime.formats.child.children import Child
from runtime.formats.child.records import believing, events_in, read_record
from runtime.sources.udp.address import Address

EXAMPLE = "tcp://127.0.0.1:7777"
READ = Path(__file__).with_name("read.py")
LOOK_UP_S = 0.02  # from waiting for events, whether it is to end or to tick
TRY_AGAIN_S = 0.5


class InivationSource(Source):
    """See `Source`. Opening it connects: the server says how large the sensor is."""

    format = "inivation"
    live = True

    def __init__(self, name: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        self.address = Address.parse(name, ("sensor", "end"), EXAMPLE)
        if importlib.util.find_spec("dv_processing") is None:
            raise MissingExtra(name, "inivation")
        self._end_s = self.address.seconds("end", None)
        self._stop = threading.Event()
        self._child: Child | None = None
        try:
            self.sensor = self._find_sensor(sensor)
        except BaseException:
            self._end_child()
            raise

    def _find_sensor(self, sensor: tuple[int, int] | None) -> tuple[int, int]:
        """Connects. Raises PlifError where that gives no events, or no size."""
        said = self._connect()
        if said is None:
            raise PlifError(
                f"{self.name}: nobody answers there; start the server (DV: the module NetOutputTcpServer) first"
            )
        if not said:
            raise PlifError(f"{self.name}: this server sends no events; connect to the output that does")
        with believing(self.name):
            size = json.loads(said)
            found = self.address.sensor(sensor) or (None if size is None else (int(size[0]), int(size[1])))
            if found is not None and not is_size(found):
                raise ValueError
        if found is None:
            raise PlifError(f"{self.name}: the server does not say how large the sensor is; say it: --sensor 346x260")
        return found

    def _connect(self) -> bytes | None:
        """What the server says of its sensor (read.py), or None while nobody answers."""
        if self._child is None:
            where = (self.address.host, str(self.address.port))
            self._child = Child(READ, *where, size=0, stdin=PIPE, network=True)
        self._child.write(b"c")
        found = read_record(self._child)
        if found is None:
            self._end_child()
        return found[1] if found is not None and found[0] == b"C" else None

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.__exit__(None, None, None)
            self._child = None

    def close(self) -> None:
        self._stop.set()
        if not self._begun:
            self._end_child()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE as they come; see Source."""
        self.begin(max_events)
        heard_s = time.monotonic()
        try:
            while not self._stop.is_set():
                if self._child is not None and not self._child.wait(LOOK_UP_S):
                    if self.tick_s is not None and time.monotonic() - heard_s >= self.tick_s:
                        heard_s = time.monotonic()
                        yield TICK
                    continue
                tag, payload = (self._child and read_record(self._child)) or (b"", b"its reader ended")
                if tag == b"P":
                    yield from pieces(usable(events_in(payload), self.sensor, self.losses), max_events)
                    heard_s = time.monotonic()
                    continue
                if payload:
                    self.say(f"the connection broke ({payload.decode(errors='replace')[:100]})")
                if not tag:
                    self._end_child()
                yield from self._connect_again()
                if self.lost:
                    return
        finally:
            self._end_child()
            self.losses.close(self.name)

    def _connect_again(self) -> Iterator[np.ndarray]:
        """Ticks until somebody answers, or the source is to end: then it is still lost."""
        lost_s = time.monotonic()
        self.went_away("the server went away: lost")
        while True:
            yield from self.ticking(self._stop, TRY_AGAIN_S)
            if self._stop.is_set() or (self._end_s is not None and time.monotonic() - lost_s >= self._end_s):
                return
            if self._connect():
                self.came_back(lost_s)
                return


SOURCE = InivationSource
