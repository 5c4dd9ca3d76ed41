"""Events of iniVation's software over TCP: `tcp://HOST:PORT`, as DV and dv-processing serve them. Extra [inivation].

dv-processing decodes the protocol (AEDAT 4 packets, compressed or not). The server is untrusted, so this runs in a
child process that may connect and has no other rights (read.py). A broken connection is tried again every half second
until it is back, with the same sensor. `end=10s` ends the stream when that takes longer. A server that has not said who
it is within ANSWER_S does not answer, and neither does a child process that takes as long for a record.
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
from runtime.core.events.sources.usable import keep_usable, split_packets
from runtime.formats.child.children import Child
from runtime.formats.child.records import decode_events, read_record, refuse_malformed
from runtime.sources.udp.address import Address

EXAMPLE = "tcp://127.0.0.1:7777"
CHILD_PROGRAM = Path(__file__).with_name("read.py")
POLL_S = 0.02  # the longest wait for events between two checks for the end or a tick
RETRY_S = 0.5
ANSWER_S = 10.0  # the most seconds until a server's greeting is complete; the child starts in 0.5 s, on a board in 5 s


class InivationSource(Source):
    """A source that reads events of an iniVation camera from a DV server over TCP.

    The constructor connects, since the server tells the size of the sensor.
    """

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
        self._greeting: bytes | None = None  # the server's JSON about its sensor; None when no server answers
        try:
            self.sensor = self._find_sensor(sensor)
        except BaseException:
            self._end_child()
            raise

    def _find_sensor(self, sensor: tuple[int, int] | None) -> tuple[int, int]:
        """Connect to the DV server, and return its sensor's (width, height).

        Raises PlifError when the server sends no events, or neither the server nor the user states the size.
        """
        for _ in self._connect(ANSWER_S):
            pass
        answer = self._greeting
        if answer is None:
            raise PlifError(
                f"{self.name}: nobody answers there; start the server (DV: the module NetOutputTcpServer) first"
            )
        if not answer:
            raise PlifError(f"{self.name}: this server sends no events; connect to the output that does")
        with refuse_malformed(self.name):
            size = json.loads(answer)
            resolution = self.address.sensor(sensor) or (None if size is None else (int(size[0]), int(size[1])))
            if resolution is not None and not is_size(resolution):
                raise ValueError
        if resolution is None:
            raise PlifError(f"{self.name}: the server does not say how large the sensor is; say it: --sensor 346x260")
        return resolution

    def _connect(self, seconds: float) -> Iterator[np.ndarray]:
        """Connect to the DV server, and set `_greeting`; yield empty packets until it answers, for at most `seconds`."""
        until_s, self._greeting = time.monotonic() + seconds, None
        if self._child is None:
            host_port = (self.address.host, str(self.address.port))
            self._child = Child(CHILD_PROGRAM, *host_port, size=0, stdin=PIPE, network=True, wait_s=ANSWER_S)
        self._child.write(b"c")
        while not (answers := self._child.wait(POLL_S)) and not self._stop.is_set() and time.monotonic() < until_s:
            yield from self.wait_with_ticks(self._stop, POLL_S)
        record = read_record(self._child) if answers else None
        if record is None:
            self._end_child()
        elif record[0] == b"C":
            self._greeting = record[1]

    def _end_child(self) -> None:
        if self._child is not None:
            self._child.__exit__(None, None, None)
            self._child = None

    def close(self) -> None:
        self._stop.set()
        if not self._begun:
            self._end_child()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield events [N] of EVENT_DTYPE as they arrive from the DV server."""
        self.begin(max_events)
        heard_s = time.monotonic()
        try:
            while not self._stop.is_set():
                if self._child is not None and not self._child.wait(POLL_S):
                    if self.tick_s is not None and time.monotonic() - heard_s >= self.tick_s:
                        heard_s = time.monotonic()
                        yield TICK
                    continue
                tag, payload = (self._child and read_record(self._child)) or (b"", b"its reader ended")
                if tag == b"P":
                    yield from split_packets(keep_usable(decode_events(payload), self.sensor, self.losses), max_events)
                    heard_s = time.monotonic()
                    continue
                if payload:
                    self.say(f"the connection broke ({payload.decode(errors='replace')[:100]})")
                if not tag:
                    self._end_child()
                yield from self._reconnect()
                if self.lost:
                    return
        finally:
            self._end_child()
            self.losses.close(self.name)

    def _reconnect(self) -> Iterator[np.ndarray]:
        """Try to reconnect to the DV server; yield empty packets until it answers or the source must end.

        In the latter case the source is still lost.
        """
        lost_s, greeting, told = time.monotonic(), self._greeting, False
        self.went_away("the server went away: lost")
        while True:
            yield from self.wait_with_ticks(self._stop, RETRY_S)
            left_s = ANSWER_S if self._end_s is None else lost_s + self._end_s - time.monotonic()
            if self._stop.is_set() or left_s <= 0:
                return
            yield from self._connect(min(left_s, ANSWER_S))
            if self._greeting == greeting:
                self.came_back(lost_s)
                return
            if self._greeting is not None:  # its reader is with a server that is not taken
                self._end_child()
            if self._greeting and not told:
                self.say("a server with another sensor answers there: not taken; start plif again for that one")
                told = True


SOURCE = InivationSource
