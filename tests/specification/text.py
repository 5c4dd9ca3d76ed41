"""Numbers, times and options in a line of text. The whole line is refused where a part of it is not understood."""

from __future__ import annotations

import re
from collections.abc import Collection
from fractions import Fraction
from typing import Any


class Refused(Exception):
    """The line says something that cannot be, or that is not understood."""


def require(holds: Any, what: str) -> None:
    if not holds:
        raise Refused(what)


def match(pattern: str, text: str) -> tuple[Any, ...]:
    """The groups of a pattern that the whole text has to follow."""
    found = re.fullmatch(pattern, text)
    if found is None:
        raise Refused(f"{text!r}: expected {pattern}")
    return found.groups()


def time_us(text: str) -> int:
    """`10ms`, `0.5 s`: a number with us, ms or s.

    At most 15 digits before the point and 9 behind it. It has to be a whole number of microseconds, from 1 to 2^50 (35 years).
    """
    number, unit = match(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(us|ms|s)", text)
    us = Fraction(number) * {"us": 1, "ms": 1_000, "s": 1_000_000}[unit]
    require(us.denominator == 1 and 1 <= us <= 2**50, text)
    return int(us)


def whole(text: str, most: int) -> int:
    """A whole number from 1 to `most`, of at most 15 digits."""
    match(r"[0-9]{1,15}", text)
    require(1 <= int(text) <= most, text)
    return int(text)


def decimal(text: str) -> float:
    """`0.25`: at most 9 digits before the point and 9 behind it, without a sign."""
    match(r"[0-9]{1,9}(\.[0-9]{1,9})?", text)
    return float(text)


def options(parts: list[str], known: Collection[str]) -> dict[str, str]:
    """`name=value` parts in any order, each name once."""
    given: dict[str, str] = {}
    for part in parts:
        name, equals, value = part.partition("=")
        require(equals and name in known and name not in given, part)
        given[name] = value
    return given
