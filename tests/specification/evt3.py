"""Prophesee EVT 3.0, word by word: type in bits 12-15, a state machine of time, row and vector base (docs of the format, 2020).

t = H << 12 | L     H: TIME_HIGH; a step back by more than 2048 means that it began again at zero, and H counts on by 4096
                    L: TIME_LOW, which a new H sets to 0
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.specification.view import Event

UNTIMED, UNROWED = "before the first TIME_HIGH", "before the first row address"
UNBASED, PAST_END = "in a vector without a base", "in a vector that runs past column 2047"
WITHOUT_EVENTS = (0x7, 0xA, 0xE, 0xF)  # continued, triggers, others


class Decoder:
    """What the words so far have set: H, L, the row, and of the next vector its base and polarity; None: nothing yet."""

    def __init__(self) -> None:
        self.H: int | None = None
        self.raw = self.wraps = self.L = self.on = self.unknown = 0
        self.row: int | None = None
        self.base: int | None = None
        self.lost: Counter[str] = Counter()

    def word(self, word: int) -> Iterator[Event]:
        kind, value = word >> 12, word & 0xFFF
        if kind == 0x0:
            self.row = value & 0x7FF
        elif kind == 0x2:
            yield from self.pixel(value & 0x7FF, value >> 11)
        elif kind == 0x3:
            self.base, self.on = value & 0x7FF, value >> 11
        elif kind in (0x4, 0x5):
            width = 12 if kind == 0x4 else 8
            for bit in range(width):
                if value >> bit & 1:
                    yield from self.pixel(None if self.base is None else self.base + bit, self.on)
            self.base = None if self.base is None else self.base + width
        elif kind == 0x6:
            self.L = value
        elif kind == 0x8:
            self.wraps += self.H is not None and value - self.raw < -2048
            self.raw, H = value, value + 4096 * self.wraps
            self.L, self.H = self.L if H == self.H else 0, H
        elif kind not in WITHOUT_EVENTS:
            self.unknown += 1

    def pixel(self, x: int | None, on: int) -> Iterator[Event]:
        if self.H is None or self.row is None or x is None or x > 2047:
            reasons = (self.H is None, UNTIMED), (self.row is None, UNROWED), (x is None, UNBASED), (True, PAST_END)
            self.lost[next(why for holds, why in reasons if holds)] += 1
        else:
            yield Event(self.H << 12 | self.L, x, self.row, bool(on))
