"""The grammar of framing: how events become frames, in one line of text that model cards and options share.

    count:T=20                                          T slices of equal event count (Fang et al. 2021, Eq. S1)
    time:T=16                                           T slices of equal time, between the first event and the last
    duration:10ms[,T=16][,pad=repeat|zero]              a time grid from the first event
    duration:40ms,every=10ms                            frames that overlap: every 10 ms one of the last 40 ms
    events:n=5000,max=20ms                              n events or the time, whichever comes first: the live policy
      ,value=count|binary       how many events, or whether there was one
      ,polarity=stored|swapped  channel 1 = ON as stored, or the other way round
      ,orientation=stored|upright|sj|paper
      ,resize=sum|crop          when the sensor is not as large as the network's input

Times are a number with us, ms or s. The first choice of each option is its default; `str()` leaves defaults out and
`Framing.parse(str(f)) == f`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from runtime.base.errors import PlifError
from runtime.model.card import MOST_NUMBERS, MOST_STEPS

UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000}
CHOICES = {
    "pad": ("repeat", "zero"),
    "value": ("count", "binary"),
    "polarity": ("stored", "swapped"),
    "orientation": ("stored", "upright", "sj", "paper"),
    "resize": ("sum", "crop"),
}
VIEW = ("value", "polarity", "orientation", "resize")  # the options of every kind, in canonical order
OWN = {"count": ("T",), "time": ("T",), "duration": ("every", "T", "pad"), "events": ("n", "max")}
EXAMPLES = {"count": "count:T=20", "time": "time:T=16", "duration": "duration:10ms", "events": "events:n=5000,max=20ms"}
MOST_PIECES = 100  # of a frame that overlaps others
NUMBER_LIMIT = 1 << 40
DURATION_LIMIT_US = 1 << 50


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
    resize: str = "sum"
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

    def check_room(self, cells: int) -> None:
        """Raises PlifError where frames of so many numbers overlap too often for all of them to be kept (docs/limits.md)."""
        if self.pieces * cells > MOST_NUMBERS:
            raise PlifError(
                f"frames that overlap would keep {self.pieces} times {cells} numbers; expected at most {MOST_NUMBERS}: "
                "take fewer parts (every=)"
            )

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
    def parse(cls, text: str) -> Framing:
        """Text -> Framing. PlifError names the part that is wrong and what may stand there."""
        return _parse(text)

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
            if value != CHOICES[name][0]:
                parts.append(f"{name}={value}")
        return f"{self.kind}:{','.join(parts)}"


def framing_of(card: Mapping[str, Any], given: str | None = None) -> Framing | None:
    """The framing of a model's card, or the one that is given in its place, in the view that the card asks for."""
    text = given or card["framing"]
    return None if text is None else Framing.parse(text).seen(card.get("view"))


def _parse(text: str) -> Framing:
    where = f"framing {text!r}"
    kind, colon, rest = str(text).strip().partition(":")
    if kind not in OWN:
        raise PlifError(f"{where}: {kind!r} is no kind of framing; expected {', '.join(EXAMPLES.values())}")
    parts = rest.split(",") if colon and rest.strip() else []
    parts = [part.strip() for part in parts]
    values: dict[str, int | str] = {}
    if kind == "duration":
        if not parts or "=" in parts[0]:
            raise PlifError(f"{where}: the length of a frame must follow 'duration:', as in {EXAMPLES[kind]}")
        values["duration_us"] = parse_time_us(where, "the length of a frame", parts.pop(0))
    for part in parts:
        name, equals, value = (piece.strip() for piece in part.partition("="))
        allowed = (*OWN[kind], *VIEW)
        if not equals or name not in allowed:
            raise PlifError(f"{where}: {part!r} is no option of {kind}; expected {', '.join(allowed)} as name=value")
        field = f"{name}_us" if name in ("max", "every") else name
        if field in values:
            raise PlifError(f"{where}: {name!r} is given twice")
        if name in ("T", "n"):
            values[field] = _number(where, name, value, MOST_STEPS if name == "T" else NUMBER_LIMIT)
        elif name in ("max", "every"):
            values[field] = parse_time_us(where, name, value)
        elif value not in CHOICES[name]:
            raise PlifError(f"{where}: {name}={value!r} is not known; expected {name}={'|'.join(CHOICES[name])}")
        else:
            values[field] = value
    for name in {"count": ("T",), "time": ("T",), "duration": (), "events": ("n", "max")}[kind]:
        if ("max_us" if name == "max" else name) not in values:
            raise PlifError(f"{where}: {name}= is missing; expected as in {EXAMPLES[kind]}")
    if "pad" in values and "T" not in values:
        raise PlifError(f"{where}: pad={values['pad']} needs T=: without T nothing is padded")
    length, every = values.get("duration_us"), values.get("every_us")
    if every is not None and (length % every or length == every or length // every > MOST_PIECES):  # type: ignore[operator]
        raise PlifError(
            f"{where}: every={_time_text(int(every))} must divide the length of a frame into 2 to {MOST_PIECES} parts; "
            "expected as in duration:40ms,every=10ms"
        )
    return Framing(kind, **values)  # type: ignore[arg-type]


def _number(where: str, name: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,15}", text) or not 1 <= int(text) <= most:
        raise PlifError(f"{where}: {name}={text!r} is not a whole number from 1 to {most}")
    return int(text)


def parse_time_us(where: str, what: str, text: str) -> int:
    """'10ms' -> 10000. `where` and `what` begin the error when it is no time."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(us|ms|s)", text)
    if found is None:
        raise PlifError(f"{where}: {what}, {text!r}, is not a time; expected a number with us, ms or s, as 10ms")
    us = Decimal(found.group(1)) * UNITS_US[found.group(2)]
    if us != int(us) or not 1 <= us <= DURATION_LIMIT_US:
        raise PlifError(
            f"{where}: {what}, {text!r}, is not a whole number of microseconds from 1 on; expected one such as 10ms"
        )
    return int(us)


def _time_text(us: int) -> str:
    for unit in ("s", "ms"):
        if us % UNITS_US[unit] == 0:
            return f"{us // UNITS_US[unit]}{unit}"
    return f"{us}us"
