"""Events as text, one a line: t,x,y,p in microseconds, or columns that layout.py detects or the user states.

p is 0/1, -1/1, false/true or OFF/ON. Empty lines and '#' and '%' comments are skipped. Any other line counts as one
invalid event, and so does one longer than LINE_LIMIT; a note shows the first such line. A block of plain numbers is
parsed at once. A block with anything else in it is parsed line by line, with the same result.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import T_LIMIT_US, empty_events, make_events
from runtime.core.events.formats.base import HEAD_BYTES, Format, Losses, Recording, read_chunks
from runtime.formats.csv_text.layout import (
    EXAMPLE,
    MAX_UNDECIDED,
    NUMBER,
    POLARITIES,
    US,
    CsvLayout,
    LayoutFinder,
    find_separator,
    is_comment,
    is_header,
    parse_header,
    parse_layout,
    parse_size_line,
    replace_separators,
    split_fields,
)

PLAIN, REAL = b"0123456789,-\n", b"0123456789,-+.eE\n"
LINE_LIMIT = 4096  # bytes; a longer line is no event, and this is the limit for an incomplete line
BOM = b"\xef\xbb\xbf"


def matches(head: bytes, path: Path) -> bool:
    """Return whether a file is CSV with events: its first line, after comments, is an event or a column header."""
    del path
    if b"\0" in head:
        return False
    for line in head.removeprefix(BOM).splitlines():
        line = line.strip()
        if is_comment(line) or parse_size_line(line):
            continue
        fields = split_fields(line, find_separator(line))
        if is_header(fields):
            return len(fields) >= 4
        finder = LayoutFinder("")
        finder.add(line)
        return bool(finder.ambiguous_count or any(finder.order_counts) or finder.five_column_count)
    return False


def open_recording(path: Path, csv: str | None = None) -> Recording:
    """Open a CSV recording of events; its column layout comes from the option `csv` or from its first lines.

    Raises PlifError if neither tells it.
    """
    layout = None if csv is None else parse_layout(csv)
    if layout is not None:
        with open(path, "rb") as file:
            if b"\0" in file.read(HEAD_BYTES):
                raise PlifError(f"{path}: --csv {csv} is for text, and this file is not text: leave it out")
    detected = _detect_layout(path, layout)
    # a file with a header only must fail here, and only reading finds out
    losses = Losses()
    if not any(len(events) for events in _decode(path, losses, detected)) and not losses.invalid:
        raise PlifError(f"{path}: holds a header and no events: record it again or check the copy")
    guesses = (detected.guess,) if detected.guess else ()
    advice = f"are the columns and the unit of the times right? {EXAMPLE}"
    return Recording(
        "csv", lambda losses: _decode(path, losses, detected), detected.sensor, guesses=guesses, advice=advice
    )


def _detect_layout(path: Path, user_layout: CsvLayout | None) -> CsvLayout:
    """Detect the column layout of a CSV file from most of its first lines, so that one damaged line does not matter."""
    with open(path, "rb") as file:
        lines = file.read(HEAD_BYTES).split(b"\n")
    lines = lines[:-1] if len(lines) > 1 else lines
    parser = CsvParser(str(path), Losses(), user_layout)
    for line in lines:
        parser.inspect_line(line)
    layout = parser.decide_layout()
    assert layout is not None  # the last call always returns a layout
    return layout


def _decode(path: Path, losses: Losses, layout: CsvLayout) -> Iterator[np.ndarray]:
    parser = CsvParser(str(path), losses, layout)
    for chunk in read_chunks(path, 0, 1, losses):
        yield parser.feed(chunk.tobytes())
    yield parser.finish()


class CsvParser:
    """A parser of CSV text, given in pieces of any size, into events [N].

    `name` stands in messages and notes; lost events are counted in `losses`. `layout` is the known part of the
    layout: all of it; or, with an empty separator, all but the separator; or None.
    """

    def __init__(self, name: str, losses: Losses, layout: CsvLayout | None = None) -> None:
        self.name, self.losses = name, losses
        self.layout = layout if layout is not None and layout.separator else None
        self._user_layout = layout
        self._finder: LayoutFinder | None = None
        self._line_count = 0  # lines
        self._sensor: tuple[int, int] | None = None
        self._before_data = True  # all lines so far are comments
        self._pending: list[bytes] = []  # lines that came while the layout was not certain
        self.carry = b""
        self.skipping = False  # inside a line longer than LINE_LIMIT
        self.line = 0  # lines finished so far
        self.bad_count = 0
        self.first_bad: tuple[int, str] | None = None  # its number and its first characters

    def feed(self, data: bytes) -> np.ndarray:
        """Parse a piece of CSV text; return the events [N] of all lines that are complete now."""
        cut = data.rfind(b"\n") + 1
        block, self.carry = (self.carry + data[:cut], data[cut:]) if cut else (b"", self.carry + data)
        if self.skipping and block:  # an empty line replaces the overlong one
            block, self.skipping = block[block.index(b"\n") :], False
        events = self._parse_lines(block) if block else empty_events()
        if len(self.carry) > LINE_LIMIT or self.skipping:
            if not self.skipping:
                self._count_bad_line(self.line + len(self._pending) + 1, self.carry)
            self.skipping, self.carry = True, b""
        return events

    def finish(self) -> np.ndarray:
        """Parse the CSV's last line if it has no newline; return its event [0 or 1], and note how many lines were none."""
        events = self._parse_lines(self.carry + b"\n") if self.carry and not self.skipping else empty_events()
        self.carry = b""
        if self.layout is None and self._pending:
            self.layout = self.decide_layout()
            events = self._parse_pending()
        if self.first_bad is not None:
            lines = "1 line is" if self.bad_count == 1 else f"{self.bad_count} lines are"
            names, (number, shown) = (self.layout or CsvLayout()).names, self.first_bad
            self.losses.note(
                f"{self.name}: {lines} not an event; the first is line {number}: {shown!r} "
                f"(expected {len(names)} numbers with {','.join(names)})"
            )
        return events

    def _parse_lines(self, block: bytes) -> np.ndarray:
        if self.layout is None:
            return self._detect_layout(block)
        if self._before_data:
            block = self._drop_header(block)
        count = block.count(b"\n")
        events = self._parse_block(block, count)
        if events is None:
            events = self._parse_single_lines(block)
        self.line += count
        return events

    def _detect_layout(self, block: bytes) -> np.ndarray:
        """Collect lines of CSV until they determine the column layout, then parse all of them to events."""
        lines = block.split(b"\n")[:-1]
        for i, line in enumerate(lines):
            self._pending.append(line[: LINE_LIMIT + 1])
            if self.inspect_line(line):
                self.layout = self.decide_layout(len(self._pending) >= MAX_UNDECIDED)
                if self.layout is not None:
                    events = self._parse_pending()
                    tail = b"".join(following + b"\n" for following in lines[i + 1 :])
                    return np.concatenate([events, self._parse_lines(tail)]) if tail else events
        return empty_events()

    def _parse_pending(self) -> np.ndarray:
        block = b"".join(line + b"\n" for line in self._pending)
        self._pending = []
        return self._parse_lines(block)

    def inspect_line(self, line: bytes) -> bool:
        """Use one line of CSV to detect the column layout; return whether the layout may be known now."""
        line = line.removeprefix(BOM) if not self._line_count else line
        self._line_count += 1
        if len(line) > LINE_LIMIT:
            return len(self._pending) >= MAX_UNDECIDED
        line = line.strip()
        if match := re.fullmatch(rb"%\s*geometry[: ]+([0-9]{1,5})[,x]([0-9]{1,5})", line):
            self._sensor = int(match[1]), int(match[2])
        if is_comment(line):
            return len(self._pending) >= MAX_UNDECIDED
        if self._finder is None and (size := parse_size_line(line)):
            self._sensor = size
            return False
        if self._finder is None:
            separator = find_separator(line)
            fields = split_fields(line, separator)
            header = is_header(fields)
            if self._user_layout is not None:
                self._user_layout = replace(self._user_layout, separator=self._user_layout.separator or separator)
                self._finder = LayoutFinder(self.name, self._user_layout)
                return True
            self._finder = LayoutFinder(
                self.name, parse_header(f"{self.name}: line {self._line_count}", fields, separator) if header else None
            )
            if header:
                header_layout = self._finder.header_layout
                return header_layout is not None and header_layout.unit is not None
        self._finder.add(line)
        return True

    def decide_layout(self, final: bool = True) -> CsvLayout | None:  # never None where final
        """Return the CSV column layout found from the inspected lines; None while it is uncertain, unless `final`."""
        finder = self._finder or LayoutFinder(self.name)
        stated = self._user_layout or (
            finder.header_layout if finder.header_layout is not None and finder.header_layout.unit else None
        )
        layout = stated or finder.decide_layout(final)
        if layout is None:
            return None
        return replace(layout, separator=layout.separator or b",", sensor=layout.sensor or self._sensor)

    def _drop_header(self, block: bytes) -> bytes:
        """Replace a CSV file's header lines (column names, sensor size) by empty lines."""
        assert self.layout is not None
        lines = (block.removeprefix(BOM) if self.line == 0 else block).split(b"\n")
        for i, line in enumerate(lines[:-1]):
            stripped = line.strip()
            if len(line) <= LINE_LIMIT and not is_comment(stripped):
                if parse_size_line(stripped):
                    lines[i] = b""
                    continue
                self._before_data = False
                if is_header(self.layout.split(stripped)):
                    lines[i] = b""
                break
        return b"\n".join(lines)

    def _parse_block(self, block: bytes, count: int) -> np.ndarray | None:
        """Parse all lines of a CSV block at once to events; return None if any line is not plain numbers."""
        if not count:
            return empty_events()
        if len(block) > LINE_LIMIT and max(map(len, block.split(b"\n"))) > LINE_LIMIT:
            return None
        layout = self.layout
        assert layout is not None
        if layout.separator == b" " and b"," in block:
            return None
        block = replace_separators(block, layout.separator)
        plain = REAL if layout.has_fractions else PLAIN
        if block.translate(None, plain) or b",," in block or b",\n" in block or b"\n," in block or block[:1] == b",":
            return None
        if any(sign + end in block for sign in (b"-", b"+") for end in (b",", b"\n")):  # to NumPy, a lone minus is 0
            return None
        raw = np.frombuffer(block, np.uint8)
        commas, columns = np.cumsum(raw == ord(","))[raw == ord("\n")], len(layout.names)
        if not np.array_equal(np.diff(commas, prepend=0), np.full(count, columns - 1)):
            return None
        with warnings.catch_warnings():  # "1-2" passes the checks above; NumPy then warns and stops early
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                kind = np.float64 if layout.has_fractions else np.int64
                values = np.fromstring(block.replace(b"\n", b",").decode("ascii"), dtype=kind, sep=",")
            except ValueError:
                return None
        if values.size != count * columns:
            return None
        table = values.reshape(count, columns)
        t, x, y, p = (table[:, layout.positions[field]] for field in "txyp")
        # the parser of single lines handles unusual values, and its note names the line
        odd = (x < 0) | (x > 65535) | (y < 0) | (y > 65535) | (p < -1) | (p > 1)
        if layout.has_fractions:
            t = np.rint(t * US[layout.unit or "us"])
            odd |= (x % 1 != 0) | (y % 1 != 0) | (p % 1 != 0)
        elif layout.unit == "ns":
            odd |= (t >= 1 << 62) | (t <= -(1 << 62))
            t = t // 1000
        if (odd | (t >= T_LIMIT_US) | (t <= -T_LIMIT_US)).any():
            return None
        return make_events(t, x, y, p > 0)

    def _parse_single_lines(self, block: bytes) -> np.ndarray:
        assert self.layout is not None
        rows = []
        outside = 0
        for number, line in enumerate(block.split(b"\n")[:-1], self.line + 1):
            overlong = len(line) > LINE_LIMIT
            line = line if overlong else line.strip()
            if is_comment(line) and not overlong:
                continue
            row = None if overlong else _parse_event(line, self.layout)
            if row is None:
                self._count_bad_line(number, line)
            elif not (0 <= row[1] <= 65535 and 0 <= row[2] <= 65535):
                outside += 1
            else:
                rows.append(row)
        self.losses.add(outside, "outside any sensor")
        if not rows:
            return empty_events()
        t, x, y, p = zip(*rows, strict=True)
        return make_events(np.array(t, np.int64), np.array(x), np.array(y), np.array(p))

    def _count_bad_line(self, number: int, line: bytes) -> None:
        self.bad_count += 1
        self.losses.invalid += 1
        if self.first_bad is None or number < self.first_bad[0]:
            self.first_bad = number, line[:40].decode("latin-1")


def _parse_event(line: bytes, layout: CsvLayout) -> tuple[int, int, int, bool] | None:
    fields = layout.split(line)
    if len(fields) != len(layout.names):
        return None
    text = fields[layout.positions["t"]]
    x, y, p = (_parse_integer(fields[layout.positions[name]]) for name in "xyp")
    if p is None:
        p = POLARITIES.get(fields[layout.positions["p"]].strip(b'"').lower())
    t = _parse_integer(text)
    if layout.has_fractions and NUMBER.fullmatch(text):
        value = float(text) * US[layout.unit or "us"]
        t = int(np.rint(value)) if abs(value) < T_LIMIT_US else None
    elif layout.unit == "ns" and t is not None:
        t //= 1000
    if t is None or x is None or y is None or p not in (-1, 0, 1) or abs(t) >= T_LIMIT_US:
        return None
    return t, x, y, p > 0


def _parse_integer(text: bytes) -> int | None:
    """Parse a whole number of a CSV field, also one written as 12.0; return None for anything else."""
    if (b"e" in text or b"E" in text) and NUMBER.fullmatch(text):
        real = float(text)
        return int(real) if abs(real) < T_LIMIT_US and real % 1 == 0 else None
    integer, dot, fraction = text.partition(b".")
    if dot and fraction.strip(b"0"):
        return None
    digits = integer.removeprefix(b"-")
    if not digits.isdigit() or len(digits.lstrip(b"0")) >= 20:
        return None
    value = int(digits[-20:])  # the digits before are zeros, and int() refuses some thousand
    return value if digits is integer else -value


FORMAT = Format(open_recording, matches)
