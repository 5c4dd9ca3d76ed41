"""Events that come as UDP datagrams: `udp://HOST:PORT?format=t64|t32|spif|jaer&sensor=WxH`.

HOST is the address to listen at: 127.0.0.1, that of one network card, or 0.0.0.0 for all. More options:
    from=IP      take datagrams of this sender only
    lost=2s      nothing for so long: the source counts as lost, until the next datagram
    end=10s      nothing for so long: the stream ends

The receiver sleeps in poll() until a datagram is there, then takes all that are there, into one buffer, and decodes them at
once. The only queue is the socket's own, which the kernel bounds: what does not fit there is dropped by the kernel, which
tells us how many datagrams that were (SO_RXQ_OVFL). How many events they held is unknown, so they stand in the notes
and in `datagrams`, not in the account of events.

A datagram whose time jumps waits until a later one agrees (timeline.py); events that nobody confirms count as invalid.
"""

from __future__ import annotations

import errno
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.address import Address
from runtime.events.datagrams import WIRES
from runtime.events.sources.base import TICK, Source
from runtime.events.sources.timeline import Timeline
from runtime.events.sources.usable import pieces, usable

EXAMPLE = "udp://127.0.0.1:7777?format=t64&sensor=346x260"
OPTIONS = ("format", "sensor", "from", "lost", "end")
DATAGRAM_BYTES = 65536  # no UDP datagram is longer
WANTED_BUFFER = 8 << 20
LOST_S = 2.0
RXQ_OVFL = 40  # socket.SO_RXQ_OVFL of Linux, which Python's module does not name
RCVBUFFORCE = 33


class UdpSource(Source):
    """See `Source`. `datagrams` counts what came, what could not be read and what the kernel dropped."""

    live = True

    def __init__(self, name: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        self.address = address = Address.parse(name, OPTIONS, EXAMPLE)
        self.format = address.options.get("format", "t64")
        if self.format not in WIRES:
            raise PlifError(f"{name}: format={self.format} is not known; expected {', '.join(WIRES)}")
        self._decoder = WIRES[self.format].decoder(self.losses)
        self._timeline = Timeline()
        self._refused = self._stepped_back = 0  # of the timeline, as far as they are told
        self.upright = self._decoder.upright
        found = address.sensor(sensor) or self._decoder.sensor
        if found is None:
            raise PlifError(f"{name}: datagrams do not say how large the sensor is; say it: &sensor=346x260")
        self.sensor = found
        self._lost_s, self._end_s = address.seconds("lost", LOST_S), address.seconds("end", None)
        self._from = address.options.get("from")
        self.datagrams = {"received": 0, "malformed": 0, "foreign": 0, "dropped_by_kernel": 0, "missing": 0}
        self._socket = self._bind()
        self._wake = socket.socketpair()
        self._failed = False

    def _bind(self) -> socket.socket:
        family, where = self.address.resolve(socket.SOCK_DGRAM)
        made = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self.buffer_bytes = _widen(made)
            if sys.platform == "linux":
                made.setsockopt(socket.SOL_SOCKET, RXQ_OVFL, 1)
            made.bind(where)
            made.setblocking(False)
        except OSError as error:
            made.close()
            hint = {
                errno.EADDRINUSE: "another program listens there; stop it or take another port",
                errno.EADDRNOTAVAIL: "that is no address of this machine; use 0.0.0.0 for all of its own",
            }.get(error.errno or 0, "see who may listen there")
            raise PlifError(f"{self.name}: cannot listen ({error.strerror}): {hint}") from None
        return made

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        if not self._begun:
            self._shut()
        with suppress(OSError):
            self._wake[1].send(b"x")

    def _shut(self) -> None:
        for one in (self._socket, *self._wake):
            one.close()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Events [N] of EVENT_DTYPE as they come; see Source."""
        self.begin(max_events)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        try:
            yield from self._receive(poll, max_events)
            for events in self._tell(self._timeline.settle(_now_us(), end=True)):
                yield from pieces(events, max_events)
        finally:
            self._shut()
            self._close_notes()

    def _receive(self, poll: select.poll, max_events: int) -> Iterator[np.ndarray]:
        room = min(max(max_events * 16, DATAGRAM_BYTES), 4 << 20)
        buffer = bytearray(room + DATAGRAM_BYTES)
        view, data = memoryview(buffer), np.frombuffer(buffer, np.uint8)
        heard_s, ever = time.monotonic(), False
        while True:
            ready = dict(poll.poll(self._patience_ms(heard_s)))
            if self._wake[0].fileno() in ready:
                return
            filled, ends, arrived_us = self._take(view, room) if ready else (0, [], [])
            if not ends:  # nothing, or nothing that is ours
                for believed in self._tell(self._timeline.settle(_now_us())):
                    yield from pieces(believed, max_events)
                silent_s = time.monotonic() - heard_s
                if self._end_s is not None and silent_s >= self._end_s:
                    return
                if not self.lost and self._lost_s is not None and silent_s >= self._lost_s:
                    self.went_away(f"no datagram for {silent_s:.1f} s" + (": lost" if ever else " so far"))
                if self.tick_s is not None and ever and self._timeline.due_us is None:  # what is held is no silence
                    yield TICK
                continue
            if self.lost and ever:
                self.came_back(heard_s)
                self._timeline.begin_anew()
            self.lost, heard_s, ever = False, time.monotonic(), True
            for believed in self._believed(data[:filled], ends, arrived_us):
                yield from pieces(believed, max_events)

    def _believed(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> Iterator[np.ndarray]:
        """Events [N] of some datagrams and of those that were held before, as far as their time is believed by now."""
        timeline, decoder, now_us = self._timeline, self._decoder, arrived_us[-1]
        decoder.unwrap.expected_us = timeline.expected_us(now_us)
        events = decoder.feed(data, ends, arrived_us)
        self.datagrams["missing"] = decoder.lost
        if timeline.goes_on(events["t"], now_us):  # nearly always
            yield from self._tell([usable(events, self.sensor, self.losses)])
            return
        for datagram in np.split(events, decoder.ends[:-1]):
            yield from self._tell(timeline.judge(usable(datagram, self.sensor, self.losses), now_us))

    def _tell(self, believed: list[np.ndarray]) -> list[np.ndarray]:
        """Enters what the timeline refused, and that it stepped back, before the events that come after it."""
        timeline = self._timeline
        if refused := timeline.refused - self._refused:
            if not self._refused:
                self.say(
                    "datagrams tell a time that no other confirms: they are refused, and their events count as invalid"
                )
            self._refused = timeline.refused
            self.losses.add(refused, "with a time that jumped, and that no other datagram confirmed")
        if timeline.returns > self._stepped_back:
            self.say("most events came from before the latest time: the clock steps back to them")
            self.returns += timeline.returns - self._stepped_back
            self._stepped_back = timeline.returns
        return believed

    def _patience_ms(self, heard_s: float) -> float | None:
        """How long poll() may sleep: until the next moment at which silence has an effect; None: for ever."""
        silent_s = time.monotonic() - heard_s
        limits = [s - silent_s for s in (None if self.lost else self._lost_s, self._end_s) if s is not None]
        if self.tick_s is not None:
            limits.append(self.tick_s)
        if (due_us := self._timeline.due_us) is not None:
            limits.append((due_us - _now_us()) / 1e6)
        return max(0.0, 1e3 * min(limits)) + 1 if limits else None

    def _take(self, view: memoryview, room: int) -> tuple[int, list[int], list[int]]:
        """All datagrams that are there, up to `room` bytes, end to end: bytes, where each ends, when each came."""
        filled, ends, arrived_us = 0, [], []
        receive, seen, fits = self._socket.recvmsg_into, self.datagrams, self._decoder.fits
        stamp = self.format == "spif"
        now_us = _now_us()
        while filled < room:
            try:
                size, extra, _, sender = receive([view[filled : filled + DATAGRAM_BYTES]], 64)
            except BlockingIOError:
                break
            except OSError as error:  # the network went down, say: no datagram, no reason to stop
                if not self._failed:
                    self.losses.note(f"{self.name}: {error.strerror}")
                self._failed = True
                break
            if extra:
                self._kernel(extra)
            if self._from is not None and sender[0] != self._from:
                seen["foreign"] += 1
                continue
            seen["received"] += 1
            if not fits(size):
                seen["malformed"] += 1
                self.losses.add(max(1, size // self._decoder.unit), f"in datagrams that are not {self.format}")
                continue
            filled += size
            ends.append(filled)
            arrived_us.append(_now_us() if stamp else now_us)
        return filled, ends, arrived_us

    def _kernel(self, extra: list[tuple[int, int, bytes]]) -> None:
        for level, kind, value in extra:
            if level == socket.SOL_SOCKET and kind == RXQ_OVFL:
                self.datagrams["dropped_by_kernel"] = int.from_bytes(value[:4], sys.byteorder)

    def _close_notes(self) -> None:
        self.losses.close(self.name)
        seen = self.datagrams
        if seen["dropped_by_kernel"]:
            self.notes.append(
                f"{self.name}: the kernel dropped {seen['dropped_by_kernel']} datagrams before we could read them "
                f"(socket buffer {self.buffer_bytes} bytes; {_remedy(self.buffer_bytes)})"
            )
        if seen["missing"]:
            self.notes.append(f"{self.name}: {seen['missing']} datagrams are missing in the sender's sequence")
        if seen["foreign"]:
            self.notes.append(f"{self.name}: {seen['foreign']} datagrams of other senders were left alone")


def _now_us() -> int:
    return time.monotonic_ns() // 1000


def _remedy(buffer_bytes: int) -> str:
    if sys.platform != "linux" or buffer_bytes >= 2 * WANTED_BUFFER:  # Linux says twice what it was asked for
        return "as large as we ask for; send less, or leave this program more of the processor"
    return f"raise it: sysctl -w net.core.rmem_max={WANTED_BUFFER}"


def _widen(made: socket.socket) -> int:
    """The largest receive buffer that we get, in bytes as the kernel counts them."""
    for option in (RCVBUFFORCE, socket.SO_RCVBUF) if sys.platform == "linux" else (socket.SO_RCVBUF,):
        try:
            made.setsockopt(socket.SOL_SOCKET, option, WANTED_BUFFER)
            break
        except OSError:  # without the privilege to go beyond rmem_max: up to it
            continue
    return made.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
