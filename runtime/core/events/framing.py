"""The grammar of framing: one line of text, shared by cards and options, that says how events become frames.

    count:T=20                                          T slices of equal event count (Fang et al. 2021, Eq. S1)
    time:T=16                                           T slices of equal time, between the first event and the last
    duration:10ms[,T=16][,pad=repeat|zero]              a time grid from the first event
    duration:40ms,every=10ms                            overlapping frames: every 10 ms one of the last 40 ms
    duration:40ms,every=20ms,follow=on                  two pictures a frame: the whole, and a view that follows a small
                                                        figure (runtime/native/rules/follow/follow.h)
    events:n=5000,max=20ms                              n events or the time, whichever comes first: the live policy
                                                        ,value=count|binary       the number of events, or 1 for any
                                                        number above 0
      ,polarity=stored|swapped  channel 1 = ON as stored, or channel 0 = ON
      ,orientation=stored|upright|sj|paper
      ,resize=auto|nearest|sum|crop   for a sensor of another size than the network's input
      ,shape=stretch|square           for a sensor of another aspect ratio

Times are a number with us, ms or s. The first choice of each option is its default; `str()` leaves defaults out and
`Framing.parse(str(f)) == f`. resize=auto is resolved with a network (resolve_framing); without one it means sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError
from runtime.core.base.text import format_count
from runtime.native.rules import FRAMING_CHOICES, read_framing, time_us

if TYPE_CHECKING:
    from runtime.core.model.card import Card

UPRIGHT = ("identity", "rotate180", "flip_y", "rotate90", "rotate270")  # in the order of plif_options.upright
TURNS = {
    "top": "identity",
    "left": "rotate90",
    "right": "rotate270",
    "bottom": "rotate180",
}  # up (the side of the picture where heads are) -> a rotation
VIEW = ("value", "polarity", "orientation", "resize", "shape")  # the options of every kind, in canonical order


@dataclass(frozen=True)
class Framing:
    """The framing of a stream or a recording: how events become frames.

    `T` belongs to count, time and (optionally) duration, `every_us` to duration, `n` and `max_us` to events.
    """

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
    follow: str = "off"

    @property
    def pictures(self) -> int:
        """The number of pictures in a frame, each for a network row of its own: 2 with follow=on, else 1."""
        return 1 + (self.follow == "on")

    @property
    def is_offline(self) -> bool:
        """True if a framing divides a complete recording, which it reads twice; a live source cannot have it."""
        return self.kind in ("count", "time")

    @property
    def step_us(self) -> int | None:
        """The longest time in us from the end of one frame of a framing to the end of the next; None without a clock."""
        return self.every_us or self.duration_us or self.max_us

    @property
    def pieces(self) -> int:
        """The number of clock steps in one frame of a framing: 1, or more where frames overlap."""
        return self.duration_us // self.every_us if self.duration_us and self.every_us else 1

    def visible_size(self, sensor: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) of the part of a sensor (width, height) that the frames show."""
        return (min(sensor), min(sensor)) if self.shape == "square" else sensor

    def sampled_size(self, sensor: tuple[int, int], shape: Sequence[int]) -> tuple[int, int]:
        """Return the (columns, rows) of sensor pixels that an input of shape (C, H, W) shows.

        With resize=nearest a cell of the input shows one pixel at most.
        """
        width, height = self.visible_size(sensor)
        return (min(width, shape[-1]), min(height, shape[-2])) if self.resize == "nearest" else (width, height)

    def describe_sampling(self, sensor: tuple[int, int], shape: Sequence[int]) -> str:
        """Return a text such as "one pixel of 14" where resize=nearest leaves sensor pixels out, else ""."""
        pixels_per_cell = math.prod(self.visible_size(sensor)) / math.prod(self.sampled_size(sensor, shape))
        return f"one pixel of {format_count(pixels_per_cell)}" if pixels_per_cell > 1 else ""

    def with_view(self, view: str | None) -> Framing:
        """Return this framing with the orientation ("view") that a card asks for.

        "upright" rotates pictures that are stored rotated, as their format says. Raise PlifError where the framing
        has another orientation.
        """
        if view is None or self.orientation == "upright":
            return self
        if self.orientation != "stored":
            raise PlifError(
                f"framing '{self}': orientation={self.orientation}, but the network needs an upright view; leave it out"
            )
        return replace(self, orientation="upright")

    @classmethod
    def parse(cls, text: str, native: bool | None = None) -> Framing:
        """Parse a framing from its text with libplif's grammar (framing.c).

        PlifError names the wrong part of the text and the values allowed there.

        native  resolves resize=auto, see is_native; False for the text of a file, in which a missing resize means sum
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
        for name in ("pad", *VIEW, "follow"):
            value = getattr(self, name)
            if value != FRAMING_CHOICES[name][0]:
                parts.append(f"{name}={value}")
        return f"{self.kind}:{','.join(parts)}"


def resolve_framing(card: Card, override: str | None = None) -> Framing | None:
    """Return the framing in a card, or `override` in its place, with the orientation that the card asks for.

    resize=auto is resolved: it is sum for a card's text without resize.
    """
    text = override or card["framing"]
    native = override is not None and is_native(card)
    return None if text is None else Framing.parse(text, native).with_view(card.get("view"))


def is_native(card: Card) -> bool:
    """Return whether the sensor of a network's training was as large as its input: one pixel per cell."""
    size, shape = card.get("trained_on", {}).get("size"), card["input"]["shape"]
    return len(shape) == 3 and size == [shape[2], shape[1]]


def parse_time_us(context: str, subject: str, text: str) -> int:
    """Parse a time such as '10ms' to microseconds.

    `context` and `subject` begin the message of PlifError for a text that is no time.
    """
    us = time_us(text)
    if us is None:
        raise PlifError(
            f"{context}: {subject}, {text!r}, is not a time; "
            "expected a whole number of microseconds from 1 on, with us, ms or s, as 10ms"
        )
    return us


def _time_text(us: int) -> str:
    for unit, size in (("s", 1_000_000), ("ms", 1_000)):
        if us % size == 0:
            return f"{us // size}{unit}"
    return f"{us}us"
