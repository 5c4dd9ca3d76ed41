"""Words of the other binary formats of cameras -> events, one class a format; a word is a whole number, read in the format's
byte order. EVT 3.0 is in evt3.py.

A clock of period P that starts again at zero:   t = raw + P n     n: steps back by more than P / 2 so far
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

from tests.specification.evt3 import UNTIMED
from tests.specification.view import Event

NO_PIXEL, MARKED = "that are sync inputs or have an address no DVS128 pixel has", "marked invalid by the camera"
LOW = 0xFFFFFFFF


class Clock:
    def __init__(self, period: int) -> None:
        self.period, self.n = period, 0
        self.last: int | None = None

    def __call__(self, raw: int) -> int:
        self.n += self.last is not None and raw - self.last < -self.period // 2
        self.last = raw
        return raw + self.period * self.n


class Words:
    """What the words so far have set; the events that were lost, and the words of no known type."""

    def __init__(self, period: int = 1 << 32) -> None:
        self.clock, self.lost, self.unknown = Clock(period), Counter[str](), 0

    def word(self, word: int) -> Iterator[Event]:
        raise NotImplementedError


class FiveBytes(Words):
    """x, y, p and t of 23 bits. Row 240 is no event: all later times are 2^13 us more."""

    markers = 0

    def word(self, word: int) -> Iterator[Event]:
        x, y, on, t = word >> 32, word >> 24 & 0xFF, word >> 23 & 1, word & 0x7FFFFF
        if y == 240:
            self.markers += 1
        else:
            yield Event(t + (self.markers << 13), x, y, bool(on))


class Evt2(Words):
    """t = H << 6 | l     H: the 28 bits of the last TIME_HIGH, a clock; l: 6 bits of the word."""

    H: int | None = None

    def __init__(self) -> None:
        super().__init__(1 << 28)

    def word(self, word: int) -> Iterator[Event]:
        yield from self.pixels(word, 1)

    def pixels(self, word: int, which: int) -> Iterator[Event]:
        """`which`: bit k stands for the pixel k columns right of x."""
        kind, low, x, y = word >> 28, word >> 22 & 0x3F, word >> 11 & 0x7FF, word & 0x7FF
        if kind == 0x8:
            self.H = self.clock(word & 0xFFFFFFF)
        elif kind in (0x0, 0x1) and self.H is None:
            self.lost[UNTIMED] += which.bit_count()
        elif kind in (0x0, 0x1):
            yield from (Event(self.H << 6 | low, x + k, y, kind == 1) for k in range(32) if which >> k & 1)
        elif kind not in (0xA, 0xE, 0xF):  # triggers, others, continued
            self.unknown += 1


class Evt21(Evt2):
    """A word of EVT 2.0, and 32 bits below it that say which pixels."""

    def word(self, word: int) -> Iterator[Event]:
        yield from self.pixels(word >> 32, word & LOW)


class Dat(Words):
    def word(self, word: int) -> Iterator[Event]:
        data = word >> 32
        yield Event(self.clock(word & LOW), data & 0x3FFF, data >> 14 & 0x3FFF, data >> 28 > 0)


class Aedat2(Words):
    """The address of a pixel has 15 bits: y, x, and whether it became darker."""

    def word(self, word: int) -> Iterator[Event]:
        address, t = word >> 32, self.clock(word & LOW)
        if address < 1 << 15:
            yield Event(t, address >> 1 & 127, address >> 8, address % 2 == 0)
        else:
            self.lost[NO_PIXEL] += 1


class Aedat31(Words):
    """t = t of the word + overflow << 31     overflow, believed: of the packet (packets)."""

    overflow, believed = 0, False

    def word(self, word: int) -> Iterator[Event]:
        data, t = word & LOW, word >> 32
        if data & 1 or self.believed:
            yield Event(t + (self.overflow << 31), data >> 17, data >> 2 & 0x7FFF, data & 2 > 0)
        else:
            self.lost[MARKED] += 1


def packets(data: bytes) -> Iterator[tuple[int, bool, list[int], int]]:
    """Packets of AEDAT 3.1, up to a header that is cut or damaged: their overflow; whether they are believed, which is where all
    events count as valid and none has its bit; their words; and how many more events they should have."""
    while len(data) >= 28:
        kind, _, size, _, overflow, capacity, number, valid = struct.unpack("<hhiiiiii", data[:28])
        if kind < 0 or size < 1 or overflow < 0 or not 0 <= number <= capacity or (kind == 1 and size != 8):
            return
        body, data = data[28 : 28 + number * size], data[28 + capacity * size :]
        if kind == 1:
            words = [int.from_bytes(body[i : i + 8], "little") for i in range(0, len(body) - 7, 8)]
            yield overflow, valid == number and not any(word & 1 for word in words), words, number - len(words)
