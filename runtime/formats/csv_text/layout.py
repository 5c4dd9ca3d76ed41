"""What the columns of CSV are: said by the user, named by a header, or found in the first lines, where these are certain.

    t,x,y,p        what plif itself means: whole microseconds
    x,y,p,t        Metavision, with %geometry:1280,720 before it
    t x y p        UZH, ESIM, v2e: times in seconds with a fraction, perhaps 240 180 before it

Other columns without a header have to be said.

Fields are separated by a comma, a semicolon (then a comma may be the decimal point), tabs or blanks. Times with a fraction of
four digits or more are seconds, whole ones microseconds; where events would then be too far apart, the unit is asked for.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.core.base.errors import PlifError
from runtime.core.base.options import OptionRecord, option
from runtime.formats.columns import FIELD_NAMES

US = {"s": 1e6, "ms": 1e3, "us": 1, "ns": 1e-3}  # microseconds in each
FIELDS = ("t", "x", "y", "p")
ORDERS = (("t", "x", "y", "p"), ("x", "y", "p", "t"))
EXAMPLE = "--csv t=s,x,y,p (in Python csv='t=s,x,y,p'), with t=s, ms, us or ns and - for each other column"
POLARITIES = {b"0": 0, b"1": 1, b"-1": 0, b"+1": 1, b"false": 0, b"true": 1, b"off": 0, b"on": 1}
NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
UNDECIDED = 200  # lines at most, until what they are must be certain
SLOW_US = 50_000  # a camera whose events are usually farther apart than that is none
UNITS = {"sec": "s", "seconds": "s", "µs": "us", "usec": "us", "nsec": "ns", "msec": "ms"}


class CsvOptions(OptionRecord):
    """What CSV does not say of itself."""

    csv: str | None = option(
        "Columns of CSV where its first lines do not tell: t=s,x,y,p (t=s|ms|us|ns, - for other columns).", default=None
    )


@dataclass(frozen=True)
class CsvLayout:
    """`names` of the columns in their order, "-" for one that is passed over; unit None: whole microseconds."""

    names: tuple[str, ...] = ORDERS[0]
    unit: str | None = None
    mark: bytes = b","  # between fields; b" ": any blanks
    sensor: tuple[int, int] | None = None
    guess: str = ""  # what was found and not said, for a person
    at: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", {name: self.names.index(name) for name in FIELDS})

    @property
    def real(self) -> bool:
        """Whether times may have a fraction."""
        return self.unit in ("s", "ms")

    def split(self, line: bytes) -> list[bytes]:
        return split(line, self.mark)

    def __str__(self) -> str:
        return ",".join(f"t={self.unit or 'us'}" if name == "t" else name for name in self.names)


def split(line: bytes, mark: bytes) -> list[bytes]:
    """A line's fields."""
    if mark == b";":
        line = line.replace(b",", b".")
    return line.split() if mark == b" " else [one.strip() for one in line.split(mark)]


def find_mark(line: bytes) -> bytes:
    """What separates the fields of a line."""
    return next((mark for mark in (b";", b",") if mark in line), b" ")


def parse_layout(text: str) -> CsvLayout:
    """'t=s,x,y,p' -> CsvLayout, whose mark is not known yet. PlifError for what is no such text."""
    names: list[str] = []
    unit = "us"
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name == "t" and equals:
            unit = value
        names.append(name if (not equals or name == "t") else part)
    if sorted(n for n in names if n != "-") != sorted(FIELDS) or unit not in US:
        raise PlifError(f"--csv {text}: expected each of t, x, y, p once, as {EXAMPLE}")
    return CsvLayout(tuple(names), unit, mark=b"")


def is_header(fields: Sequence[bytes]) -> bool:
    """A line of names: no field starts like a number, but the first may be empty (an index)."""
    named = [one.strip(b'" ') for one in fields]
    words = sum(name[:1].isalpha() or name[:1] == b"_" for name in named)
    return words >= 4 and all(name[:1].isalpha() or name[:1] == b"_" or not name for name in named) and (
        words == len(named) or not named[0]
    ) and not all(name.lower() in POLARITIES for name in named)  # fmt: skip


def read_header(where: str, fields: Sequence[bytes], mark: bytes) -> CsvLayout:
    """The layout that a header names: timestamp_us, t [s], x@1280, ... PlifError where it does not name t, x, y, p once."""
    names, unit, sides = [], None, {}
    for raw in fields:
        name, _, side = raw.decode("utf-8", "replace").strip(' "').lower().partition("@")
        known = next((key for key, others in FIELD_NAMES.items() if name in others), None)
        found = re.fullmatch(r"([a-z]+?)s?[ _]*[\[(]?(s|sec|seconds|m?sec|ms|us|µs|usec|ns|nsec)[\])]?", name)
        if known == "t" and name == "t_us":
            unit = "us"
        if known is None and found and found[1] in FIELD_NAMES["t"]:
            known, unit = "t", UNITS.get(found[2], found[2])
        if known in ("x", "y") and side.isdecimal():
            sides[known] = int(side[:9])
        names.append(known or "-")
    if sorted(name for name in names if name != "-") != sorted(FIELDS):
        known_names = "; ".join("|".join(others) for others in FIELD_NAMES.values())
        shown = mark.decode().join(one.decode("latin-1") for one in fields)
        raise PlifError(
            f"{where}: the header {shown[:80]!r} does not name each of t, x, y, p once (known names: {known_names})"
        )
    sensor = (sides["x"], sides["y"]) if len(sides) == 2 else None
    return CsvLayout(tuple(names), unit, mark, sensor)


class Finder:
    """Lines without a header, one after the other, until it is certain what they are. `named`: a header that lacks the unit."""

    def __init__(self, where: str, named: CsvLayout | None = None) -> None:
        self.where, self.named = where, named
        self.mark = named.mark if named else b""
        self.lines = 0
        self.only = [0, 0]  # lines that only this order can explain
        self.both = 0
        self.times: tuple[list[bytes], list[bytes]] = ([], [])
        self.fives = 0  # lines of five numbers

    def add(self, line: bytes) -> None:
        self.lines += 1
        self.mark = self.mark or find_mark(line)
        fields = split(line, self.mark)
        if self.named:
            if len(fields) == len(self.named.names):
                self.times[0].append(fields[self.named.at["t"]])
            return
        self.fives += len(fields) == 5 and all(map(NUMBER.fullmatch, fields))
        fits = [len(fields) == 4 and _fits(dict(zip(order, fields, strict=True))) for order in ORDERS]
        self.only = [n + (fit and not all(fits)) for n, fit in zip(self.only, fits, strict=True)]
        self.both += all(fits)
        for times, order, fit in zip(self.times, ORDERS, fits, strict=True):
            times.extend([fields[order.index("t")]] if fit else [])

    def take(self, final: bool) -> CsvLayout | None:
        """The layout; None where more lines are needed, which `final` forbids. PlifError where they do not tell it."""
        if final and 2 * self.fives > self.lines and not self.named:
            raise PlifError(f"{self.where}: five columns without a header; say what they are: {EXAMPLE}")
        if not final and not (self.named or any(self.only)):
            return None
        if min(self.only) > sum(self.only) / 20:
            raise PlifError(f"{self.where}: its first lines fit t,x,y,p as well as x,y,p,t; say which: {EXAMPLE}")
        chosen = int(self.only[1] > self.only[0])
        times = self.times[chosen]
        unit, certain = self._unit(times)
        if not final and not certain:
            return None
        names = self.named.names if self.named else ORDERS[chosen]
        plain = names == ORDERS[0] or self.named
        layout = CsvLayout(names, unit, self.mark, self.named.sensor if self.named else None)
        guess = (
            "" if plain and unit is None else f"{self.where}: its columns are taken as {layout}, from its first lines"
        )
        return CsvLayout(names, unit, self.mark, layout.sensor, guess)

    def _unit(self, times: Sequence[bytes]) -> tuple[str | None, bool]:
        """(unit, whether it is certain) of times as text; None: whole microseconds."""
        values = [float(one) for one in times if NUMBER.fullmatch(one)]
        digits = [len(repr(v).partition(".")[2]) if "e" not in repr(v) else 9 for v in values if v % 1]
        if 2 * len(digits) > len(values):
            if max(digits) >= 4:
                self._check_pace(values, "s")
                return "s", True
            if len(values) < UNDECIDED // 2:
                return "s", False
            raise PlifError(
                f"{self.where}: times such as {times[-1].decode()[:30]} may be s or ms; say which: {EXAMPLE}"
            )
        self._check_pace(values, "us")
        return None, any(values)

    def _check_pace(self, values: Sequence[float], unit: str) -> None:
        steps = sorted(b - a for a, b in itertools.pairwise(values) if b > a)
        if len(steps) >= 100 and steps[len(steps) // 2] * US[unit] > SLOW_US:
            smaller = "nanoseconds" if unit == "us" else "us or ms"
            raise PlifError(
                f"{self.where}: events {steps[len(steps) // 2]:g} {unit} apart are no camera's: the times look like {smaller}; "
                f"say it: {EXAMPLE}"
            )


def _fits(fields: dict[str, bytes]) -> bool:
    return (
        fields["p"].strip(b'"').lower() in (*POLARITIES, b"1.0", b"0.0", b"-1.0") or _is_sign(fields["p"])
    ) and NUMBER.fullmatch(fields["t"]) is not None and all(
        NUMBER.fullmatch(fields[side]) and 0 <= float(fields[side]) < 65536 and float(fields[side]) % 1 == 0
        for side in "xy"
    )  # fmt: skip


def _is_sign(text: bytes) -> bool:
    return NUMBER.fullmatch(text) is not None and float(text) in (-1, 0, 1)


def is_comment(line: bytes) -> bool:
    """Nothing in it (stripped) is an event or a header."""
    return not line or line[:1] in (b"#", b"%")


def read_size(line: bytes) -> tuple[int, int] | None:
    """The sensor, where a line is nothing but two numbers: so begin the texts of UZH's E2VID."""
    found = re.fullmatch(rb"([1-9][0-9]{0,4})[ \t]+([1-9][0-9]{0,4})", line)
    return (int(found[1]), int(found[2])) if found else None


def with_commas(block: bytes, mark: bytes) -> bytes:
    """Lines of plain numbers with commas between, whatever was there."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if mark == b";":
        return block.replace(b",", b".").replace(b";", b",")
    if mark != b" ":
        return block
    block = block.replace(b"\t", b" ")
    while b"  " in block:
        block = block.replace(b"  ", b" ")
    return block.replace(b" \n", b"\n").replace(b"\n ", b"\n").lstrip(b" ").replace(b" ", b",")
