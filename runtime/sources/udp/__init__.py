"""Events that come as UDP datagrams: `udp://HOST:PORT?format=t64|t32|spif|jaer&sensor=WxH`.

HOST is the address to listen at: 127.0.0.1, that of one network card, or 0.0.0.0 for all. More options:
    from=, owner=  whose datagrams are taken (runtime/sources/udp/ownership.py); first, 60s
    lost=2s        nothing for so long: the source counts as lost, until the next datagram
    end=10s        nothing for so long: the stream ends

The receiver sleeps in poll() until a datagram is there, then takes all that are there, into one buffer, and decodes them at
once. The only queue is the socket's own, which the kernel bounds, and it says how many datagrams did not fit (SO_RXQ_OVFL). How
many events they held is unknown, so they stand in the notes and in `datagrams`, not in the account of events.

Each sender has a clock of its own, and a datagram whose time jumps waits for the next one (timeline.py); events that nobody
confirms count as invalid.
"""

from __future__ import annotations

import errno
import itertools
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import Losses
from runtime.core.events.sources.base import TICK, Source
from runtime.core.events.sources.usable import pieces, usable
from runtime.sources.udp.address import Address
from runtime.sources.udp.datagrams import WIRES, DatagramDecoder
from runtime.sources.udp.ownership import Ownership, plain_address
from runtime.sources.udp.timeline import Timeline

EXAMPLE = "udp://127.0.0.1:7777?format=t64&sensor=346x260"
OPTIONS = ("format", "sensor", "from", "owner", "lost", "end")
DATAGRAM_BYTES = 65536  # no UDP datagram is longer
AT_ONCE = 4096  # datagrams, others' too: what is ours waits no longer than these take
CLOCKS = 64  # of so many senders the time is known: anybody can forge more
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
        self.upright = self._decoder.upright
        found = address.sensor(sensor) or self._decoder.sensor
        if found is None:
            raise PlifError(f"{name}: datagrams do not say how large the sensor is; say it: &sensor=346x260")
        self.sensor = found
        self._lost_s, self._end_s = address.seconds("lost", None) or LOST_S, address.seconds("end", None)
        self.datagrams = dict.fromkeys(
            ("received", "malformed", "foreign", "takeovers", "dropped_by_kernel", "missing"), 0
        )
        family, where = address.resolve(socket.SOCK_DGRAM)
        self._ownership = Ownership(address, family, self._lost_s, self.datagrams, lambda text: self.say(text))
        self._heard_us = self._empty_us = 0  # when something of ours came last, and when nothing waited
        self._clocks: dict[object, tuple[DatagramDecoder, Timeline]] = {}  # by sender, the one heard last at the end
        self._refused = False
        self._socket = self._bind(family, where)
        self._listens: str | None = None  # where, while somebody reads
        self._wake = socket.socketpair()
        self._failed = False

    def _bind(self, family: socket.AddressFamily, where: tuple[object, ...]) -> socket.socket:
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

    def status(self) -> dict[str, object]:
        return {"listens": self._listens, **self._ownership.status(_now_us())}

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
        host, port, *_ = self._socket.getsockname()
        self._listens = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        w, h = self.sensor
        self.say(f"listens at {self._listens} ({self.format}, {w}x{h}), takes datagrams of {self._ownership.whose}")
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        try:
            yield from self._receive(poll, max_events)
            for events in self._settled(end=True):
                yield from pieces(events, max_events)
        finally:
            self._listens = None
            self._shut()
            self._close_notes()

    def _receive(self, poll: select.poll, max_events: int) -> Iterator[np.ndarray]:
        room = min(max(max_events * 16, DATAGRAM_BYTES), 4 << 20)
        buffer = bytearray(room + DATAGRAM_BYTES)
        view, data = memoryview(buffer), np.frombuffer(buffer, np.uint8)
        self._heard_us, ever = _now_us(), False
        while True:
            ready = dict(poll.poll(self._patience_ms()))
            if self._wake[0].fileno() in ready:
                return
            ends, arrived_us, senders = self._take(view, room)
            if not ends:  # nothing, or nothing that is ours
                for believed in self._settled():
                    yield from pieces(believed, max_events)
                silent_s = (_now_us() - self._heard_us) / 1e6
                if self._end_s is not None and silent_s >= self._end_s:
                    return
                if not self.lost and silent_s >= self._lost_s:
                    owner = self._ownership.owner
                    of = f" of {plain_address(owner)}" if owner else ""
                    self.went_away(f"no datagram{of} for {silent_s:.1f} s" + (": lost" if ever else " so far"))
                if self.tick_s is not None and ever and self._due_us is None:  # what is held is no silence
                    yield TICK
                continue
            if self.lost and ever:
                self.came_back(self._heard_us / 1e6)
            self.lost, self._heard_us, ever = False, arrived_us[-1], True
            for believed in self._believed(data, ends, arrived_us, senders):
                yield from pieces(believed, max_events)

    def _believed(
        self, data: np.ndarray, ends: list[int], arrived_us: list[int], senders: list[object]
    ) -> Iterator[np.ndarray]:
        """Events [N] of datagrams end to end, uint8 [bytes], and of those that were held, as far as their time is believed."""
        now_us, begin = arrived_us[-1], 0
        for sender, run in itertools.groupby(range(len(ends)), senders.__getitem__):
            first, *rest = run
            last = rest[-1] if rest else first
            known = self._clocks.pop(sender, None)
            decoder, timeline = known or (WIRES[self.format].decoder(self.losses), Timeline(self._refuse))
            self._clocks[sender] = decoder, timeline
            decoder.unwrap.expected_us, missing = timeline.expected_us(now_us), decoder.lost
            own_ends = [end - begin for end in ends[first : last + 1]]
            events = decoder.feed(data[begin : ends[last]], own_ends, arrived_us[first : last + 1])
            self.datagrams["missing"] += decoder.lost - missing
            begin = ends[last]
            if timeline.goes_on(events["t"], now_us):  # nearly always
                yield usable(events, self.sensor, self.losses)
                continue
            for datagram in np.split(events, decoder.ends[:-1]):
                yield from timeline.judge(usable(datagram, self.sensor, self.losses), now_us)
        while len(self._clocks) > CLOCKS:
            _, timeline = self._clocks.pop(next(iter(self._clocks)))
            yield from timeline.settle(now_us, end=True)

    def _settled(self, end: bool = False) -> Iterator[np.ndarray]:
        """Nothing comes: the packets [N] that were held and are believed by now."""
        for _, timeline in self._clocks.values():
            yield from timeline.settle(_now_us(), end)

    @property
    def _due_us(self) -> int | None:
        """When something that is held has to be given, if nothing comes before; None: never."""
        return min((due for _, timeline in self._clocks.values() if (due := timeline.due_us) is not None), default=None)

    def _refuse(self, count: int) -> None:
        if not self._refused:
            self.say("a datagram tells a time that the next one denies: its events are refused, and count as invalid")
        self._refused = True
        self.losses.add(count, "with a time that jumped, and that no other datagram confirmed")

    def _patience_ms(self) -> float | None:
        """How long poll() may sleep: until the next moment at which silence has an effect; None: for ever."""
        silent_s = (_now_us() - self._heard_us) / 1e6
        limits = [s - silent_s for s in (None if self.lost else self._lost_s, self._end_s) if s is not None]
        if self.tick_s is not None:
            limits.append(self.tick_s)
        if (due_us := self._due_us) is not None:
            limits.append((due_us - _now_us()) / 1e6)
        return max(0.0, 1e3 * min(limits)) + 1 if limits else None

    def _take(self, view: memoryview, room: int) -> tuple[list[int], list[int], list[object]]:
        """Datagrams that are there, up to `room` bytes of ours, end to end: where each ends, when it came, whose it is."""
        filled, ends, arrived_us = 0, list[int](), list[int]()
        senders: list[object] = []
        receive, seen, fits = self._socket.recvmsg_into, self.datagrams, self._decoder.fits
        stamp = self.format == "spif"
        now_us, ownership = _now_us(), self._ownership
        owner, anybody = ownership.owner, ownership.anybody
        for _ in range(AT_ONCE):
            if filled >= room:
                break
            try:
                size, extra, _, sender = receive([view[filled : filled + DATAGRAM_BYTES]], 64)
            except BlockingIOError:
                self._empty_us = _now_us()
                break
            except OSError as error:  # the network went down, say: no datagram, no reason to stop
                if not self._failed:
                    self.losses.note(f"{self.name}: {error.strerror}")
                self._failed = True
                break
            if extra:
                self._kernel(extra)
            other = not anybody and sender[0] != owner
            if not other:
                ownership.heard_us = now_us
            elif ends or not ownership.may_change(now_us, self._empty_us, self.lost):
                ownership.refuse(sender[0], now_us)
                continue
            seen["received"] += 1
            if not fits(size):
                seen["malformed"] += 1
                self.losses.add(max(1, size // self._decoder.unit), f"in datagrams that are not {self.format}")
                continue
            if other:
                if not self._tells(view[:size]):
                    continue
                ownership.change(owner := sender[0], now_us)
            filled += size
            ends.append(filled)
            arrived_us.append(_now_us() if stamp else now_us)
            senders.append(sender if anybody else owner)
        return ends, arrived_us, senders

    def _tells(self, datagram: memoryview) -> bool:
        """Whether an event in it can be used: a stray datagram of another program makes nobody the owner. Its events count as
        invalid."""
        for losses in (Losses(), self.losses):
            events = WIRES[self.format].decoder(losses).feed(np.frombuffer(datagram, np.uint8), [len(datagram)], [0])
            if len(usable(events, self.sensor, losses)):
                return True
        return False

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
            self.notes.append(f"{self.name}: {self._ownership.note()}")
        if seen["takeovers"]:
            self.notes.append(f"{self.name}: {seen['takeovers']} times another host took over, after a silence")


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


SOURCE = UdpSource
