"""The grammar of framing: how events become frames, in one line of text that model cards and options share.

    count:T=20                                          T slices of equal event count (Fang et al. 2021, Eq. S1)
    time:T=16                                           T slices of equal time, between the first event and the last
    duration:10ms[,T=16][,pad=repeat|zero]              a time grid from the first event
    duration:40ms,every=10ms                            frames that overlap: every 10 ms one of the last 40 ms
    events:n=5000,max=20ms                              n events or the time, whichever comes first: the live policy
      ,value=count|binary       how many events, or whether there was one
      ,polarity=stored|swapped  channel 1 = ON as stored, or the other way round
      ,orientation=stored|upright|sj|paper
      ,resize=auto|nearest|sum|crop   when the sensor is not as large as the network's input
      ,shape=stretch|square           or not as wide for its height

Times are a number with us, ms or s. The first choice of each option is its default; `str()` leaves defaults out and
`Framing.parse(str(f)) == f`. resize=auto is resolved where a network is known (framing_of); where none is, it is sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.text import short
from runtime.native.rules import FRAMING_CHOICES, read_framing, time_us

if TYPE_CHECKING:
    from runtime.core.model.card import Card

UPRIGHT = ("identity", "rotate180", "flip_y", "rotate90", "rotate270")  # in the order of plif_options.upright
TURNS = {
    "top": "identity",
    "left": "rotate90",
    "right": "rotate270",
    "bottom": "rotate180",
}  # up: the side of heads -> a turn
VIEW = ("value", "polarity", "orientation", "resize", "shape")  # the options of every kind, in canonical order


@dataclass(frozen=True)
class Framing:
    """One framing. `T` belongs to count, time and (optionally) duration, `every_us` to duration, `n` and `max_us` to events."""

    kind: str
    T: int | None = None
    duration_us: int | None = None
    n: int | None = None
    max_us: int | None = None
    pad: str = "repeat"
    value: str = "count"
    polarity: str = "stored"
    orientation: str = "stored"
    resize: str = "auto"
    shape: str = "stretch"
    every_us: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it divides a whole recording, which is then read twice: what is live has no whole."""
        return self.kind in ("count", "time")

    @property
    def step_us(self) -> int | None:
        """The time from the end of a frame to the end of the next, at most; None where frames follow no clock."""
        return self.every_us or self.duration_us or self.max_us

    @property
    def pieces(self) -> int:
        """How many steps of the clock a frame holds: 1, or more where frames overlap."""
        return self.duration_us // self.every_us if self.duration_us and self.every_us else 1

    def picture(self, sensor: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the part of a sensor that is shown."""
        return (min(sensor), min(sensor)) if self.shape == "square" else sensor

    def pixels(self, sensor: tuple[int, int], shape: Sequence[int]) -> tuple[int, int]:
        """Columns and rows of pixels that are shown to an input of shape (C, H, W): with resize=nearest at most one a cell."""
        width, height = self.picture(sensor)
        return (min(width, shape[-1]), min(height, shape[-2])) if self.resize == "nearest" else (width, height)

    def shown(self, sensor: tuple[int, int], shape: Sequence[int]) -> str:
        """As "one pixel of 14", where resize=nearest leaves pixels of a sensor out; else ""."""
        each = math.prod(self.picture(sensor)) / math.prod(self.pixels(sensor, shape))
        return f"one pixel of {short(each)}" if each > 1 else ""

    def seen(self, view: str | None) -> Framing:
        """The same with the view that a card asks for: "upright" turns what a format says is stored turned.

        PlifError where the framing turns the picture in another way."""
        if view is None or self.orientation == "upright":
            return self
        if self.orientation != "stored":
            raise PlifError(
                f"framing '{self}': orientation={self.orientation}, but the network needs an upright view; leave it out"
            )
        return replace(self, orientation="upright")

    @classmethod
    def parse(cls, text: str, native: bool | None = None) -> Framing:
        """Text -> Framing, read by libplif (framing.c). PlifError names the part that is wrong and what may stand there.

        native  by which resize=auto is resolved, as is_native says; False for a text of a file, in which no word is sum
        """
        return cls(**read_framing(text, native))

    def __str__(self) -> str:
        parts = []
        if self.duration_us is not None:
            parts.append(_time_text(self.duration_us))
        if self.every_us is not None:
            parts.append(f"every={_time_text(self.every_us)}")
        if self.T is not None:
            parts.append(f"T={self.T}")
        if self.n is not None:
            parts.append(f"n={self.n}")
        if self.max_us is not None:
            parts.append(f"max={_time_text(self.max_us)}")
        for name in ("pad", *VIEW):
            value = getattr(self, name)
            if value != FRAMING_CHOICES[name][0]:
                parts.append(f"{name}={value}")
        return f"{self.kind}:{','.join(parts)}"


def framing_of(card: Card, given: str | None = None) -> Framing | None:
    """The framing of a model's card, or the one that is given in its place, in the view that the card asks for, with the word
    of resize: of a card without one it is sum."""
    text = given or card["framing"]
    native = given is not None and is_native(card)
    return None if text is None else Framing.parse(text, native).seen(card.get("view"))


def is_native(card: Card) -> bool:
    """Whether the sensor of a network's training was as large as its input: each cell was one pixel."""
    size, shape = card.get("trained_on", {}).get("size"), card["input"]["shape"]
    return len(shape) == 3 and size == [shape[2], shape[1]]


def parse_time_us(where: str, what: str, text: str) -> int:
    """'10ms' -> 10000. `where` and `what` begin the error when it is no time."""
    us = time_us(text)
    if us is None:
        raise PlifError(
            f"{where}: {what}, {text!r}, is not a time; "
            "expected a whole number of microseconds from 1 on, with us, ms or s, as 10ms"
        )
    return us


def _time_text(us: int) -> str:
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if us % size == 0:
            return f"{us // size}{unit}"
    return f"{us}us"
