"""Who sends to a UDP source: whose datagrams are taken, and what the times of each sender mean.

UDP cannot prove a sender: a host is the address that stands in a datagram, and whoever forges it is that host.
"""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.datagrams import WIRES, DatagramDecoder
from runtime.events.sources.base import Source
from runtime.events.sources.timeline import Timeline
from runtime.events.sources.usable import usable

CLOCKS = 64  # of so many senders the time is known: anybody can forge more
NAMED = 4  # so many hosts that are not taken are named


class Owner:
    """Whose datagrams are taken, as `whose` says: of `any`; of one HOST, an IP address; or of the `first` host that sends, from
    whatever port. Once nothing came from that one for lost_s, the next that sends is the owner. But not while the kernel
    drops datagrams: they may be the owner's.

    host  the owner, as the socket writes it; None: nobody yet, or anybody
    """

    def __init__(self, source: Source, whose: str, family: socket.AddressFamily, lost_s: float) -> None:
        self._source, self._whose, self._lost_s = source, whose, lost_s
        self.anybody = whose == "any"
        self.host = None if whose in ("any", "first") else _written(source.name, whose, family)
        self._others: set[str] = set()
        self._dropped = self._dropped_us = 0  # by the kernel, and when that was known

    def __str__(self) -> str:
        if self._whose != "first":
            return _plain(self.host)
        return f"{_plain(self.host)}, the first that sent" + " after a silence" * bool(
            self._source.datagrams["takeovers"]
        )

    @property
    def of(self) -> str:
        """' of HOST', for a sentence about datagrams; empty without an owner."""
        return f" of {_plain(self.host)}" if self.host else ""

    def may_change(self, now_us: int) -> bool:
        """Whether the next datagram is taken, whoever sent it."""
        if self._whose != "first" or self.host is None:
            return self.host is None
        if self._dropped != self._source.datagrams["dropped_by_kernel"]:
            self._dropped, self._dropped_us = self._source.datagrams["dropped_by_kernel"], now_us
        return self._source.lost and (not self._dropped or now_us - self._dropped_us >= 1e6 * self._lost_s)

    def change(self, host: str) -> None:
        if self.host is not None:
            self._source.datagrams["takeovers"] += 1
            self._source.say(
                f"nothing comes from {_plain(self.host)} any more: the stream belongs to {_plain(host)} now"
            )
        self.host = host
        self._others.clear()

    def leave(self, host: str) -> None:
        """A datagram of another host came, and is not taken."""
        self._source.datagrams["foreign"] += 1
        if len(self._others) < NAMED and host not in self._others:
            self._others.add(host)
            other = _plain(host)
            self._source.say(
                f"datagrams of {other} are not taken: this stream belongs to {self}; from={other} names yours"
            )

    def notes(self) -> list[str]:
        seen, found = self._source.datagrams, []
        if seen["foreign"]:
            others = f" ({', '.join(map(_plain, sorted(self._others)))})" if self._others else ""
            found.append(
                f"{seen['foreign']} datagrams of other hosts{others} were not taken: this stream belongs to {self}"
            )
        if seen["takeovers"]:
            found.append(f"{seen['takeovers']} times another host took over, after a silence")
        return [f"{self._source.name}: {text}" for text in found]


def _written(name: str, host: str, family: socket.AddressFamily) -> str:
    """The address as a socket of that family writes it: an IPv4 one stands in ::ffff: for IPv6."""
    ways = (host, f"::ffff:{host}") if family == socket.AF_INET6 else (host.lower().removeprefix("::ffff:"),)
    for way in ways:
        with suppress(OSError):
            return socket.inet_ntop(family, socket.inet_pton(family, way))
    example = "192.168.1.7" if family == socket.AF_INET else "fd00::7"
    raise PlifError(f"{name}: from={host} is no sender's address here; expected first, any, or one such as {example}")


def _plain(host: str | None) -> str:
    return (host or "anybody").removeprefix("::ffff:")


class Clocks:
    """Datagrams -> events, each sender's by a decoder and a timeline of its own."""

    def __init__(self, source: Source, form: str) -> None:
        self._source, self._form = source, form
        self._refused = 0
        self._known: dict[object, tuple[DatagramDecoder, Timeline]] = {}  # by sender, the one heard last at the end

    def believed(
        self, data: np.ndarray, ends: list[int], arrived_us: list[int], senders: list[object]
    ) -> Iterator[np.ndarray]:
        """Datagrams end to end, uint8 [bytes] -> events [N] of them, and of those that were held, as far as their time is
        believed by now."""
        source, now_us, begin = self._source, arrived_us[-1], 0
        for _, run in itertools.groupby(range(len(ends)), senders.__getitem__):
            first, *rest = run
            last = rest[-1] if rest else first
            decoder, timeline = self._of(senders[first])
            decoder.unwrap.expected_us, missing = timeline.expected_us(now_us), decoder.lost
            own_ends = [end - begin for end in ends[first : last + 1]]
            events = decoder.feed(data[begin : ends[last]], own_ends, arrived_us[first : last + 1])
            source.datagrams["missing"] += decoder.lost - missing
            begin = ends[last]
            if timeline.goes_on(events["t"], now_us):  # nearly always
                yield usable(events, source.sensor, source.losses)
                continue
            for datagram in np.split(events, decoder.ends[:-1]):
                yield from timeline.judge(usable(datagram, source.sensor, source.losses), now_us)
        while len(self._known) > CLOCKS:
            _, timeline = self._known.pop(next(iter(self._known)))
            yield from timeline.settle(now_us, end=True)

    def settled(self, now_us: int, end: bool = False) -> Iterator[np.ndarray]:
        """Nothing comes: the packets [N] that were held and are believed by now."""
        for _, timeline in self._known.values():
            yield from timeline.settle(now_us, end)

    @property
    def due_us(self) -> int | None:
        """When `settled` has to be called, if nothing comes before; None: never."""
        return min((due for _, timeline in self._known.values() if (due := timeline.due_us) is not None), default=None)

    def _of(self, sender: object) -> tuple[DatagramDecoder, Timeline]:
        found = self._known.pop(sender, None)
        if found is None:
            found = WIRES[self._form].decoder(self._source.losses), Timeline(self._refuse)
        self._known[sender] = found
        return found

    def _refuse(self, count: int) -> None:
        if not self._refused:
            self._source.say(
                "a datagram tells a time that the next one denies: its events are refused, and count as invalid"
            )
        self._refused += 1
        self._source.losses.add(count, "with a time that jumped, and that no other datagram confirmed")
