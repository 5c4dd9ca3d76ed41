"""Datagrams that come out of order, put back in order within a short window: `&reorder=2ms`.

The order is that of a datagram's key: its sequence number (jaer), else the time of its first event. With numbers, a gap is seen
at once:

    key = next           release it, and those held that follow it
    next < key           hold it until the missing ones came, or for the window since it arrived
    the bytes of one of the last 64 datagrams, 100 ms ago at most    a duplicate: counted, and dropped

Times show only that a datagram came too late. From then on, and until ten seconds went by without one, each datagram is held for
the window, and the earliest are released first. So nothing is delayed where nothing is out of order. A key that is far from the
others (64 numbers, 50 ms) is another order, of a sender that restarted or paused, or it is wrong (timeline.py): what is held is
released before it, and it does not wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

WINDOW_US = 2_000
FAR = 64  # numbers
FAR_US = 50_000
CALM_US = 10_000_000  # without disorder, after which times are believed at once
MAX_HELD, MAX_HELD_BYTES = 256, 4 << 20  # datagrams
REMEMBERED, DOUBLED_US = 64, 100_000  # datagrams, and the time, in which the same bytes are a duplicate


class HeldDatagram(NamedTuple):
    """A datagram, its key, and its time of arrival in us."""

    key: int
    arrived_us: int
    data: bytes


Arranged = tuple[np.ndarray, list[int], list[int]]  # as in `arrange`


class Reorder:
    """The order of the datagrams of one sender.

    place    (offset, bytes, byte order) of the key in a datagram;  numbered: it is a sequence number, else a time in us
    counts   "duplicates" and "reordered" are counted there: those that came twice, and those that were put back in order
    """

    def __init__(
        self, place: tuple[int, int, str], numbered: bool, counts: dict[str, int], window_us: int = WINDOW_US
    ) -> None:
        self._offset, self._bytes, self._order = place
        self._half, self._numbered, self._window_us = 1 << (8 * self._bytes - 1), numbered, window_us
        self._far = FAR if numbered else FAR_US
        self._last: int | None = None  # the key that was released last
        self._held: list[HeldDatagram] = []
        self._seen: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)  # times of arrival, and contents
        self._disorder_us: int | None = None  # when a datagram came too late, of times
        self._counts = counts

    @property
    def due_us(self) -> int | None:
        """The time at which `release` must be called if no datagram comes before; None if none is held."""
        return self._held[0].arrived_us + self._window_us if self._held else None

    def arrange(self, data: np.ndarray, ends: list[int], arrived_us: list[int]) -> Arranged:
        """Return datagrams in order: those of `data`, uint8 [bytes], that need not wait, and those held before.

        `ends` are the byte offsets of their ends, `arrived_us` their times of arrival; both belong to the result, too.
        """
        keys = self._read_keys(data, ends)
        spans = list(zip([0, *ends[:-1]], ends, strict=True))
        if not self._held and (self._numbered or self._is_calm(arrived_us[0])) and self._is_in_order(keys):
            self._last = keys[-1]
            newest = zip(arrived_us[-REMEMBERED:], spans[-REMEMBERED:], strict=True)
            self._seen.extend((at_us, data[begin:end].tobytes()) for at_us, (begin, end) in newest)
            return data, ends, arrived_us
        released = list[HeldDatagram]()
        for key, (begin, end), now_us in zip(keys, spans, arrived_us, strict=True):
            released += self._take(HeldDatagram(key, now_us, data[begin:end].tobytes()))
            released += self._let_go(now_us)
        return self._join(released)

    def release(self, now_us: int, end: bool = False) -> Arranged:
        """Return the held datagrams that have waited for the window, or all at the end, in order."""
        return self._join(self._let_go(now_us, end))

    def _take(self, one: HeldDatagram) -> list[HeldDatagram]:
        """Return what a datagram releases: itself, nothing, or those that waited for it."""
        ahead = self._distance(one.key)
        lately = (data for at_us, data in self._seen if ahead <= 0 and one.arrived_us - at_us <= DOUBLED_US)
        if one.data in lately or any(one.data == held.data for held in self._held):
            self._counts["duplicates"] += 1
            return []
        self._seen.append((one.arrived_us, one.data))
        newest = max((self._distance(held.key) for held in self._held), default=0)
        if self._last is None or abs(ahead - newest) > self._far:  # the first one, or another order
            freed, self._held = sorted(self._held, key=lambda held: self._distance(held.key)), []
            self._last, self._disorder_us = one.key, None
            return [*freed, one]
        if ahead < 0 or (self._numbered and ahead == 0):
            self._disorder_us = one.arrived_us
            return [one]  # its turn is over: the framer says whether it is late
        if (self._numbered and ahead == 1) or (not self._numbered and self._is_calm(one.arrived_us)):
            self._last = one.key
            return [one, *(self._follow() if self._numbered else [])]
        self._held.append(one)
        return []

    def _follow(self) -> list[HeldDatagram]:
        """Return the held datagrams whose numbers follow the one released last."""
        freed = list[HeldDatagram]()
        while (following := next((held for held in self._held if self._distance(held.key) == 1), None)) is not None:
            self._held.remove(following)
            self._last = following.key
            freed.append(following)
            self._counts["reordered"] += 1
        return freed

    def _let_go(self, now_us: int, end: bool = False) -> list[HeldDatagram]:
        """Return the held datagrams that have waited long enough, and those before them, in order."""
        freed = list[HeldDatagram]()
        while self._held:
            full = len(self._held) > MAX_HELD or sum(len(held.data) for held in self._held) > MAX_HELD_BYTES
            if not (end or full or now_us - self._held[0].arrived_us >= self._window_us):  # they stand as they arrived
                break
            first = min(self._held, key=lambda held: self._distance(held.key))
            self._counts["reordered"] += first is not self._held[0]
            self._held.remove(first)
            self._last = first.key
            freed.append(first)
            freed += self._follow() if self._numbered else []
        return freed

    def _is_calm(self, now_us: int) -> bool:
        return self._disorder_us is None or now_us - self._disorder_us > CALM_US

    def _is_in_order(self, keys: Sequence[int]) -> bool:
        if self._last is None:
            return False
        size = 2 * self._half
        steps = [(key - before) % size for before, key in zip((self._last, *keys), keys, strict=False)]
        return all(step == 1 for step in steps) if self._numbered else all(0 < step <= FAR_US for step in steps)

    def _distance(self, key: int) -> int:
        """Return by how much a key is after the one released last; negative before it. Keys wrap."""
        last = self._last or 0
        return (key - last + self._half) % (2 * self._half) - self._half

    def _read_keys(self, data: np.ndarray, ends: Sequence[int]) -> list[int]:
        view, width = data.data, self._bytes
        begins = [begin + self._offset for begin in (0, *ends[:-1])]
        return [int.from_bytes(view[at : at + width], self._order) for at in begins]  # type: ignore[arg-type]

    @staticmethod
    def _join(released: Sequence[HeldDatagram]) -> Arranged:
        data = np.frombuffer(b"".join(one.data for one in released), np.uint8)
        ends = np.cumsum([len(one.data) for one in released], dtype=np.int64).tolist()
        return data, ends, [one.arrived_us for one in released]
