"""Events in UDP datagrams: `udp://HOST:PORT?format=t64|t32|spif|jaer&sensor=WxH`.

HOST is the address to listen at: 127.0.0.1, that of one network card, or 0.0.0.0 for all. More options:
    from=, owner=  the accepted senders (runtime/sources/udp/ownership.py); first, 60s
    lost=2s        silence after which the source counts as lost, until the next datagram
    end=10s        silence after which the stream ends
    reorder=2ms    how long a datagram may wait for one that was sent before it (reorder.py); off: not at all

The receiver sleeps in poll() until a datagram arrives, then takes all that have arrived into one buffer, and decodes
them at once. The only queue is that of the socket, which the kernel bounds. The kernel counts the datagrams that did
not fit (SO_RXQ_OVFL). The number of their events is unknown, so they stand in the notes and in `datagrams`, not in
the account of events.

Each sender has its own clock, and a datagram with a jump in time waits for the next one (timeline.py). Events of a
jump that no datagram confirms count as invalid.
"""

from __future__ import annotations

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
from runtime.core.events.sources.usable import keep_usable, split_packets
from runtime.sources.udp.address import RXQ_OVFL, Address, bind_socket, name_remedy
from runtime.sources.udp.datagrams import DATAGRAM_FORMATS, DatagramDecoder
from runtime.sources.udp.ownership import Ownership, to_plain_address
from runtime.sources.udp.reorder import WINDOW_US, Arranged, Reorder
from runtime.sources.udp.timeline import Timeline

EXAMPLE = "udp://127.0.0.1:7777?format=t64&sensor=346x260"
OPTIONS = ("format", "sensor", "from", "owner", "lost", "end", "reorder")
DATAGRAM_BYTES = 65536  # no UDP datagram is longer
MAX_PER_TURN = 4096  # datagrams of any sender in one turn; this bounds the delay of our events
MAX_CLOCKS = 64  # senders with a known clock; anybody can forge more
LOST_S = 2.0
MAX_WINDOW_S = 1.0


class UdpSource(Source):
    """A source that receives events in UDP datagrams from the network.

    `datagrams` counts those that were received, malformed, refused or dropped by the kernel.
    """

    live = True

    def __init__(self, name: str, sensor: tuple[int, int] | None = None) -> None:
        super().__init__(name)
        self.address = address = Address.parse(name, OPTIONS, EXAMPLE)
        self.format = address.options.get("format", "t64")
        if self.format not in DATAGRAM_FORMATS:
            raise PlifError(f"{name}: format={self.format} is not known; expected {', '.join(DATAGRAM_FORMATS)}")
        self._decoder = DATAGRAM_FORMATS[self.format].decoder(self.losses)
        self.upright = self._decoder.upright
        size = address.sensor(sensor) or self._decoder.sensor
        if size is None:
            raise PlifError(f"{name}: datagrams do not contain the sensor size; add it, for example &sensor=346x260")
        self.sensor = size
        self._lost_s, self._end_s = address.seconds("lost", None) or LOST_S, address.seconds("end", None)
        self._window_us = 0 if address.options.get("reorder") == "off" else self._read_window(address)
        self.datagrams = dict.fromkeys(
            (
                "received",
                "malformed",
                "foreign",
                "takeovers",
                "dropped_by_kernel",
                "missing",
                "duplicates",
                "reordered",
            ),
            0,
        )
        family, bind_address = address.resolve(socket.SOCK_DGRAM)
        self._ownership = Ownership(address, family, self._lost_s, self.datagrams, lambda text: self.say(text))
        self._heard_us = self._empty_us = 0  # the time of the last accepted datagram, and of the last empty socket
        self._clocks: dict[
            object, tuple[DatagramDecoder, Timeline, Reorder | None]
        ] = {}  # by sender; the latest sender is the last entry
        self._has_warned = False
        self._socket, self.buffer_bytes = bind_socket(name, family, bind_address)
        self._listen_address: str | None = None  # the bound address, while packets() runs
        self._wake = socket.socketpair()
        self._failed = False

    @staticmethod
    def _read_window(address: Address) -> int:
        seconds = address.seconds("reorder", None)
        if seconds is not None and seconds > MAX_WINDOW_S:
            raise PlifError(f"{address.spec}: reorder={seconds:g}s: expected at most {MAX_WINDOW_S:g}s, or off")
        return WINDOW_US if seconds is None else int(1e6 * seconds)

    def status(self) -> dict[str, object]:
        return {"listens": self._listen_address, **self._ownership.status(_now_us())}

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def close(self) -> None:
        if not self._begun:
            self._close_sockets()
        with suppress(OSError):
            self._wake[1].send(b"x")

    def _close_sockets(self) -> None:
        for sock in (self._socket, *self._wake):
            sock.close()

    def packets(self, max_events: int = 65536) -> Iterator[np.ndarray]:
        """Yield events [N] of EVENT_DTYPE as UDP datagrams arrive."""
        self.begin(max_events)
        host, port, *_ = self._socket.getsockname()
        self._listen_address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        w, h = self.sensor
        self.say(
            f"listens at {self._listen_address} ({self.format}, {w}x{h}), takes datagrams of {self._ownership.rule_text}"
        )
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake[0], select.POLLIN)
        try:
            yield from self._receive(poll, max_events)
            for events in self._flush_pending(end=True):
                yield from split_packets(events, max_events)
        finally:
            self._listen_address = None
            self._close_sockets()
            self._close_notes()

    def _receive(self, poll: select.poll, max_events: int) -> Iterator[np.ndarray]:
        room = min(max(max_events * 16, DATAGRAM_BYTES), 4 << 20)
        buffer = bytearray(room + DATAGRAM_BYTES)
        view, data = memoryview(buffer), np.frombuffer(buffer, np.uint8)
        self._heard_us, has_started = _now_us(), False
        while True:
            ready = dict(poll.poll(self._poll_timeout_ms()))
            if self._wake[0].fileno() in ready:
                return
            ends, arrived_us, senders = self._receive_datagrams(view, room)
            if not ends:  # no datagram was accepted
                for accepted in self._flush_pending():
                    yield from split_packets(accepted, max_events)
                silent_s = (_now_us() - self._heard_us) / 1e6
                if self._end_s is not None and silent_s >= self._end_s:
                    return
                if not self.lost and silent_s >= self._lost_s:
                    owner = self._ownership.owner
                    of = f" of {to_plain_address(owner)}" if owner else ""
                    self.went_away(f"no datagram{of} for {silent_s:.1f} s" + (": lost" if has_started else " so far"))
                if self.tick_s is not None and has_started and self._due_us is None:  # a pending datagram is no silence
                    yield TICK
                continue
            if self.lost and has_started:
                self.came_back(self._heard_us / 1e6)
            self.lost, self._heard_us, has_started = False, arrived_us[-1], True
            for accepted in self._accept_datagrams(data, ends, arrived_us, senders):
                yield from split_packets(accepted, max_events)
            due_us = self._due_us
            if due_us is not None and due_us <= _now_us():  # another sender that floods withholds none
                for accepted in self._flush_pending():
                    yield from split_packets(accepted, max_events)

    def _accept_datagrams(
        self, data: np.ndarray, ends: list[int], arrived_us: list[int], senders: list[object]
    ) -> Iterator[np.ndarray]:
        """Decode consecutive datagrams, uint8 [bytes], and yield the events [N] whose times are plausible.

        These include events of pending datagrams.
        """
        now_us, begin = arrived_us[-1], 0
        for sender, run in itertools.groupby(range(len(ends)), senders.__getitem__):
            first, *following = run
            last = following[-1] if following else first
            clock = self._clocks.pop(sender, None)
            if clock is None:
                clock = DATAGRAM_FORMATS[self.format].decoder(self.losses), Timeline(self._refuse), self._make_order()
            self._clocks[sender], order = clock, clock[2]
            own_ends = [end - begin for end in ends[first : last + 1]]
            own = data[begin : ends[last]], own_ends, arrived_us[first : last + 1]
            begin = ends[last]
            if order is not None and self.format == "spif" and own[0][3] >> 7:  # without times there is no order
                yield from self._decode(clock, order.release(now_us, end=True), now_us)
                order = None
            yield from self._decode(clock, own if order is None else order.arrange(*own), now_us)
        while len(self._clocks) > MAX_CLOCKS:
            yield from self._flush(self._clocks.pop(next(iter(self._clocks))), now_us, end=True)

    def _decode(
        self, clock: tuple[DatagramDecoder, Timeline, Reorder | None], arranged: Arranged, now_us: int
    ) -> Iterator[np.ndarray]:
        """Decode datagrams of one sender that are in order, and yield the events [N] whose times are plausible."""
        (decoder, timeline, _), (data, ends, arrived_us) = clock, arranged
        if not ends:
            return
        decoder.unwrap.expected_us, missing = timeline.expected_us(now_us), decoder.lost
        events = decoder.feed(data, ends, arrived_us)
        self.datagrams["missing"] += decoder.lost - missing
        if timeline.try_continue(events["t"], now_us):  # the usual case
            yield keep_usable(events, self.sensor, self.losses)
            return
        for datagram in np.split(events, decoder.ends[:-1]):
            yield from timeline.accept_datagram(keep_usable(datagram, self.sensor, self.losses), now_us)

    def _make_order(self) -> Reorder | None:
        key = DATAGRAM_FORMATS[self.format].key
        return Reorder(key, self.format == "jaer", self.datagrams, self._window_us) if self._window_us else None

    def _flush(
        self, clock: tuple[DatagramDecoder, Timeline, Reorder | None], now_us: int, end: bool = False
    ) -> Iterator[np.ndarray]:
        """Yield the packets [N] of one sender that were held back, to come in order or for a doubtful time."""
        _, timeline, order = clock
        if order is not None:
            yield from self._decode(clock, order.release(now_us, end), now_us)
        yield from timeline.flush_pending(now_us, end)

    def _flush_pending(self, end: bool = False) -> Iterator[np.ndarray]:
        """Yield the packets [N] that were held back, of each sender that has been silent since."""
        for clock in self._clocks.values():
            yield from self._flush(clock, _now_us(), end)

    @property
    def _due_us(self) -> int | None:
        """The time at which the next held-back UDP datagram is accepted if no other comes before; None if none is held."""
        dues = (held.due_us for _, *holders in self._clocks.values() for held in holders if held is not None)
        return min((due for due in dues if due is not None), default=None)

    def _refuse(self, count: int) -> None:
        if not self._has_warned:
            self.say(
                "the time of a datagram jumped and the next datagram does not confirm it: its events are refused, and"
                " count as invalid"
            )
        self._has_warned = True
        self.losses.add(count, "with a time that jumped, and that no other datagram confirmed")

    def _poll_timeout_ms(self) -> float | None:
        """Return the time in ms that poll() may wait for datagrams until a silence has an effect; None for no limit."""
        silent_s = (_now_us() - self._heard_us) / 1e6
        limits = [s - silent_s for s in (None if self.lost else self._lost_s, self._end_s) if s is not None]
        if self.tick_s is not None:
            limits.append(self.tick_s)
        if (due_us := self._due_us) is not None:
            limits.append((due_us - _now_us()) / 1e6)
        return max(0.0, 1e3 * min(limits)) + 1 if limits else None

    def _receive_datagrams(self, view: memoryview, room: int) -> tuple[list[int], list[int], list[object]]:
        """Receive the waiting UDP datagrams, up to `room` accepted bytes, one after the other into `view`.

        Returns for each the offset of its end, its time of arrival in us, and its sender.
        """
        filled, ends, arrived_us = 0, list[int](), list[int]()
        senders: list[object] = []
        receive, counts, fits = self._socket.recvmsg_into, self.datagrams, self._decoder.fits
        stamp = self.format == "spif"
        now_us, ownership = _now_us(), self._ownership
        owner, anybody = ownership.owner, ownership.anybody
        for _ in range(MAX_PER_TURN):
            if filled >= room:
                break
            try:
                size, extra, _, sender = receive([view[filled : filled + DATAGRAM_BYTES]], 64)
            except BlockingIOError:
                self._empty_us = _now_us()
                break
            except OSError as error:  # for example the network went down; the stream continues
                if not self._failed:
                    self.losses.note(f"{self.name}: {error.strerror}")
                self._failed = True
                break
            if extra:
                self._read_drop_count(extra)
            is_foreign = not anybody and sender[0] != owner
            if not is_foreign:
                ownership.heard_us = now_us
            elif ends or not ownership.may_change(now_us, self._empty_us, self.lost):
                ownership.refuse(sender[0], now_us)
                continue
            counts["received"] += 1
            if not fits(size):
                counts["malformed"] += 1
                self.losses.add(max(1, size // self._decoder.unit), f"in datagrams that are not {self.format}")
                continue
            if is_foreign:
                if not self._has_usable_event(view[:size]):
                    continue
                ownership.change(owner := sender[0], now_us)
            filled += size
            ends.append(filled)
            arrived_us.append(_now_us() if stamp else now_us)
            senders.append(sender if anybody else owner)
        return ends, arrived_us, senders

    def _has_usable_event(self, datagram: memoryview) -> bool:
        """Return whether a datagram holds a usable event; only then may its sender become the owner of the UDP stream.

        A stray datagram of another program has none. Its events count as invalid.
        """
        for losses in (Losses(), self.losses):
            events = (
                DATAGRAM_FORMATS[self.format]
                .decoder(losses)
                .feed(np.frombuffer(datagram, np.uint8), [len(datagram)], [0])
            )
            if len(keep_usable(events, self.sensor, losses)):
                return True
        return False

    def _read_drop_count(self, extra: list[tuple[int, int, bytes]]) -> None:
        for level, kind, value in extra:
            if level == socket.SOL_SOCKET and kind == RXQ_OVFL:
                self.datagrams["dropped_by_kernel"] = int.from_bytes(value[:4], sys.byteorder)

    def _close_notes(self) -> None:
        self.losses.close(self.name)
        counts = self.datagrams
        if counts["dropped_by_kernel"]:
            self.notes.append(
                f"{self.name}: the kernel dropped {counts['dropped_by_kernel']} datagrams before we could read them "
                f"(socket buffer {self.buffer_bytes} bytes; {name_remedy(self.buffer_bytes)})"
            )
        if counts["reordered"] or counts["duplicates"]:
            self.notes.append(
                f"{self.name}: {counts['reordered']} datagrams came out of order and were put back, "
                f"{counts['duplicates']} came twice"
            )
        if counts["missing"]:
            self.notes.append(f"{self.name}: {counts['missing']} datagrams are missing in the sender's sequence")
        if counts["foreign"]:
            self.notes.append(f"{self.name}: {self._ownership.summarize_refused()}")
        if counts["takeovers"]:
            self.notes.append(f"{self.name}: {counts['takeovers']} times another host took over, after a silence")


def _now_us() -> int:
    return time.monotonic_ns() // 1000


SOURCE = UdpSource
