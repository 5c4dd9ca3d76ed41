"""The columns of a CSV recording: stated by the user, named by a header, or detected from the first lines if certain.

    t,x,y,p        the order of plif: whole microseconds
    x,y,p,t        Metavision, with %geometry:1280,720 before it
    t x y p        UZH, ESIM, v2e: times in seconds with a fraction, perhaps 240 180 before it

The user must state other columns without a header.

Fields are separated by a comma, a semicolon (then a comma may be the decimal point), tabs or blanks. Times with a
fraction of four digits or more are seconds, whole ones microseconds. If events would then be too far apart, plif asks
for the unit.
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
MAX_UNDECIDED = 200  # lines at most, until the layout must be certain
SLOW_US = 50_000  # median time between events; no real camera is slower
UNITS = {"sec": "s", "seconds": "s", "µs": "us", "usec": "us", "nsec": "ns", "msec": "ms"}


class CsvOptions(OptionRecord):
    """The command-line options for reading CSV recordings."""

    csv: str | None = option(
        "Columns of CSV where its first lines do not tell: t=s,x,y,p (t=s|ms|us|ns, - for other columns).", default=None
    )


@dataclass(frozen=True)
class CsvLayout:
    """The column layout of a CSV recording of events: column names, time unit, separator and sensor size.

    `names` are the columns in their order, "-" for one to skip. Unit None means whole microseconds.
    """

    names: tuple[str, ...] = ORDERS[0]
    unit: str | None = None
    separator: bytes = b","  # between fields; b" ": any blanks
    sensor: tuple[int, int] | None = None
    guess: str = ""  # the detected part of the layout, as text for a person
    positions: dict[str, int] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", {name: self.names.index(name) for name in FIELDS})

    @property
    def has_fractions(self) -> bool:
        """True when the times of a CSV file may have a fraction."""
        return self.unit in ("s", "ms")

    def split(self, line: bytes) -> list[bytes]:
        return split_fields(line, self.separator)

    def __str__(self) -> str:
        return ",".join(f"t={self.unit or 'us'}" if name == "t" else name for name in self.names)


def split_fields(line: bytes, separator: bytes) -> list[bytes]:
    """Split a line of CSV into its fields."""
    if separator == b";":
        line = line.replace(b",", b".")
    return line.split() if separator == b" " else [text.strip() for text in line.split(separator)]


def find_separator(line: bytes) -> bytes:
    """Return the separator of the fields in a line of CSV: semicolon, comma or blank."""
    return next((separator for separator in (b";", b",") if separator in line), b" ")


def parse_layout(text: str) -> CsvLayout:
    """Parse the user's column layout, such as 't=s,x,y,p', into a CsvLayout without a separator.

    Raises PlifError for any other text.
    """
    names: list[str] = []
    unit = "us"
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if name == "t" and equals:
            unit = value
        names.append(name if (not equals or name == "t") else part)
    if sorted(n for n in names if n != "-") != sorted(FIELDS) or unit not in US:
        raise PlifError(f"--csv {text}: expected each of t, x, y, p once, as {EXAMPLE}")
    return CsvLayout(tuple(names), unit, separator=b"")


def is_header(fields: Sequence[bytes]) -> bool:
    """Return whether the fields of a CSV line are column names of events.

    No name starts like a number. The first may be empty (an index).
    """
    names = [text.strip(b'" ') for text in fields]
    words = sum(name[:1].isalpha() or name[:1] == b"_" for name in names)
    return words >= 4 and all(name[:1].isalpha() or name[:1] == b"_" or not name for name in names) and (
        words == len(names) or not names[0]
    ) and not all(name.lower() in POLARITIES for name in names)  # fmt: skip


def parse_header(source: str, fields: Sequence[bytes], separator: bytes) -> CsvLayout:
    """Parse the column names of a CSV header, such as timestamp_us, t [s] or x@1280, into a column layout.

    Raises PlifError when it does not name each of t, x, y, p once.
    """
    names, unit, sides = [], None, {}
    for raw in fields:
        name, _, side = raw.decode("utf-8", "replace").strip(' "').lower().partition("@")
        field_name = next((key for key, aliases in FIELD_NAMES.items() if name in aliases), None)
        match = re.fullmatch(r"([a-z]+?)s?[ _]*[\[(]?(s|sec|seconds|m?sec|ms|us|µs|usec|ns|nsec)[\])]?", name)
        if field_name == "t" and name == "t_us":
            unit = "us"
        if field_name is None and match and match[1] in FIELD_NAMES["t"]:
            field_name, unit = "t", UNITS.get(match[2], match[2])
        if field_name in ("x", "y") and side.isdecimal():
            sides[field_name] = int(side[:9])
        names.append(field_name or "-")
    if sorted(name for name in names if name != "-") != sorted(FIELDS):
        known_names = "; ".join("|".join(aliases) for aliases in FIELD_NAMES.values())
        shown = separator.decode().join(text.decode("latin-1") for text in fields)
        raise PlifError(
            f"{source}: the header {shown[:80]!r} does not name each of t, x, y, p once (known names: {known_names})"
        )
    sensor = (sides["x"], sides["y"]) if len(sides) == 2 else None
    return CsvLayout(tuple(names), unit, separator, sensor)


class LayoutFinder:
    """A detector of the column layout of CSV lines that have no header, or one without the unit of time.

    Lines are added until the layout is certain.
    """

    def __init__(self, source: str, header_layout: CsvLayout | None = None) -> None:
        self.source, self.header_layout = source, header_layout
        self.separator = header_layout.separator if header_layout else b""
        self.line_count = 0
        self.order_counts = [0, 0]  # lines that fit only this order
        self.ambiguous_count = 0
        self.times: tuple[list[bytes], list[bytes]] = ([], [])
        self.five_column_count = 0  # lines of five numbers

    def add(self, line: bytes) -> None:
        self.line_count += 1
        self.separator = self.separator or find_separator(line)
        fields = split_fields(line, self.separator)
        if self.header_layout:
            if len(fields) == len(self.header_layout.names):
                self.times[0].append(fields[self.header_layout.positions["t"]])
            return
        self.five_column_count += len(fields) == 5 and all(map(NUMBER.fullmatch, fields))
        fits = [len(fields) == 4 and _can_be_event(dict(zip(order, fields, strict=True))) for order in ORDERS]
        self.order_counts = [n + (fit and not all(fits)) for n, fit in zip(self.order_counts, fits, strict=True)]
        self.ambiguous_count += all(fits)
        for times, order, fit in zip(self.times, ORDERS, fits, strict=True):
            times.extend([fields[order.index("t")]] if fit else [])

    def decide_layout(self, final: bool) -> CsvLayout | None:
        """Return the column layout detected from the CSV lines so far; None while it is uncertain, unless `final`.

        Raises PlifError when the lines do not determine it.
        """
        if final and 2 * self.five_column_count > self.line_count and not self.header_layout:
            raise PlifError(f"{self.source}: five columns without a header; say what they are: {EXAMPLE}")
        if not final and not (self.header_layout or any(self.order_counts)):
            return None
        if min(self.order_counts) > sum(self.order_counts) / 20:
            raise PlifError(f"{self.source}: its first lines fit both t,x,y,p and x,y,p,t; say which: {EXAMPLE}")
        chosen = int(self.order_counts[1] > self.order_counts[0])
        times = self.times[chosen]
        unit, certain = self._detect_unit(times)
        if not final and not certain:
            return None
        names = self.header_layout.names if self.header_layout else ORDERS[chosen]
        plain = names == ORDERS[0] or self.header_layout
        layout = CsvLayout(names, unit, self.separator, self.header_layout.sensor if self.header_layout else None)
        guess = (
            "" if plain and unit is None else f"{self.source}: its columns are taken as {layout}, from its first lines"
        )
        return CsvLayout(names, unit, self.separator, layout.sensor, guess)

    def _detect_unit(self, times: Sequence[bytes]) -> tuple[str | None, bool]:
        """Detect the unit of a CSV's times, given as text: (unit, whether it is certain); None means microseconds."""
        values = [float(text) for text in times if NUMBER.fullmatch(text)]
        digits = [len(repr(v).partition(".")[2]) if "e" not in repr(v) else 9 for v in values if v % 1]
        if 2 * len(digits) > len(values):
            if max(digits) >= 4:
                self._check_pace(values, "s")
                return "s", True
            if len(values) < MAX_UNDECIDED // 2:
                return "s", False
            raise PlifError(
                f"{self.source}: times such as {times[-1].decode()[:30]} may be s or ms; say which: {EXAMPLE}"
            )
        self._check_pace(values, "us")
        return None, any(values)

    def _check_pace(self, values: Sequence[float], unit: str) -> None:
        steps = sorted(b - a for a, b in itertools.pairwise(values) if b > a)
        if len(steps) >= 100 and steps[len(steps) // 2] * US[unit] > SLOW_US:
            smaller = "nanoseconds" if unit == "us" else "us or ms"
            raise PlifError(
                f"{self.source}: events {steps[len(steps) // 2]:g} {unit} apart are "
                f"too slow for a camera: the times look like {smaller}; "
                f"say it: {EXAMPLE}"
            )


def _can_be_event(fields: dict[str, bytes]) -> bool:
    return (
        fields["p"].strip(b'"').lower() in (*POLARITIES, b"1.0", b"0.0", b"-1.0") or _is_sign(fields["p"])
    ) and NUMBER.fullmatch(fields["t"]) is not None and all(
        NUMBER.fullmatch(fields[side]) and 0 <= float(fields[side]) < 65536 and float(fields[side]) % 1 == 0
        for side in "xy"
    )  # fmt: skip


def _is_sign(text: bytes) -> bool:
    return NUMBER.fullmatch(text) is not None and float(text) in (-1, 0, 1)


def is_comment(line: bytes) -> bool:
    """Return whether a stripped line of CSV is empty or a comment."""
    return not line or line[:1] in (b"#", b"%")


def parse_size_line(line: bytes) -> tuple[int, int] | None:
    """Parse a line of two numbers as the sensor's (width, height); return None for any other line.

    The texts of UZH's E2VID begin with such a line.
    """
    match = re.fullmatch(rb"([1-9][0-9]{0,4})[ \t]+([1-9][0-9]{0,4})", line)
    return (int(match[1]), int(match[2])) if match else None


def replace_separators(block: bytes, separator: bytes) -> bytes:
    """Replace the separators in a block of CSV lines by commas."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n")
    if separator == b";":
        return block.replace(b",", b".").replace(b";", b",")
    if separator != b" ":
        return block
    block = block.replace(b"\t", b" ")
    while b"  " in block:
        block = block.replace(b"  ", b" ")
    return block.replace(b" \n", b"\n").replace(b"\n ", b"\n").lstrip(b" ").replace(b" ", b",")
