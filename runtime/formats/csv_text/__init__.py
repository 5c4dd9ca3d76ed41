"""Events as text, one a line: t,x,y,p in microseconds, or as csv_layout.py says and finds.

p is 0/1, -1/1, false/true or OFF/ON. Empty lines and '#' and '%' comments are passed over. Another line counts as one invalid
event, and so does one longer than LINE_LIMIT; a note shows the first such line. A block of plain numbers is parsed as a whole; a
block with anything else in it is parsed line by line, with the same result.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import T_LIMIT_US, make_events, no_events
from runtime.core.events.formats.base import HEAD_BYTES, Format, Losses, Recording, read_chunks
from runtime.formats.csv_text.layout import (
    EXAMPLE,
    NUMBER,
    POLARITIES,
    UNDECIDED,
    US,
    CsvLayout,
    Finder,
    find_mark,
    is_comment,
    is_header,
    parse_layout,
    read_header,
    read_size,
    split,
    with_commas,
)

PLAIN, REAL = b"0123456789,-\n", b"0123456789,-+.eE\n"
LINE_LIMIT = 4096  # a longer line is no event; no more than this is kept of a line that is not complete yet
BOM = b"\xef\xbb\xbf"


def matches(head: bytes, path: Path) -> bool:
    """Whether the first line that is neither empty nor a comment is an event or a header."""
    del path
    if b"\0" in head:
        return False
    for line in head.removeprefix(BOM).splitlines():
        line = line.strip()
        if is_comment(line) or read_size(line):
            continue
        fields = split(line, find_mark(line))
        if is_header(fields):
            return len(fields) >= 4
        finder = Finder("")
        finder.add(line)
        return bool(finder.both or any(finder.only) or finder.fives)
    return False


def open_recording(path: Path, csv: str | None = None) -> Recording:
    """`csv`: what the user says of its columns; else its first lines tell, and PlifError where they do not."""
    layout = None if csv is None else parse_layout(csv)
    if layout is not None:
        with open(path, "rb") as file:
            if b"\0" in file.read(HEAD_BYTES):
                raise PlifError(f"{path}: --csv {csv} is for text, and this is none: leave it out")
    found = _look(path, layout)
    # a file of one header line must be an error here, and only reading tells that there is no event
    losses = Losses()
    if not any(len(events) for events in _decode(path, losses, found)) and not losses.invalid:
        raise PlifError(f"{path}: holds a header and no events: record it again or check the copy")
    guesses = (found.guess,) if found.guess else ()
    advice = f"are the columns and the unit of the times right? {EXAMPLE}"
    return Recording("csv", lambda losses: _decode(path, losses, found), found.sensor, guesses=guesses, advice=advice)


def _look(path: Path, said: CsvLayout | None) -> CsvLayout:
    """The layout of a file, from its beginning: the most of its lines decide, so one that is damaged does not."""
    with open(path, "rb") as file:
        lines = file.read(HEAD_BYTES).split(b"\n")
    lines = lines[:-1] if len(lines) > 1 else lines
    parser = CsvParser(str(path), Losses(), said)
    for line in lines:
        parser.look(line)
    found = parser.settle()
    assert found is not None  # it is final
    return found


def _decode(path: Path, losses: Losses, layout: CsvLayout) -> Iterator[np.ndarray]:
    parser = CsvParser(str(path), losses, layout)
    for chunk in read_chunks(path, 0, 1, losses):
        yield parser.feed(chunk.tobytes())
    yield parser.finish()


class CsvParser:
    """Text in pieces of any size -> events [N]. `name` stands in messages and notes; lost events are counted in `losses`.

    `layout` is what is known of the columns: all of it; or, with an empty mark, all but what separates them; or nothing.
    """

    def __init__(self, name: str, losses: Losses, layout: CsvLayout | None = None) -> None:
        self.name, self.losses = name, losses
        self.layout = layout if layout is not None and layout.mark else None
        self._said = layout
        self._finder: Finder | None = None
        self._looked = 0  # lines
        self._sensor: tuple[int, int] | None = None
        self._first = True  # no line yet that is no comment
        self._pending: list[bytes] = []  # lines that came while the layout was not certain
        self.carry = b""
        self.skipping = False  # inside a line longer than LINE_LIMIT
        self.line = 0  # lines finished so far
        self.bad = 0
        self.first_bad: tuple[int, str] | None = None  # its number, and what it looks like

    def feed(self, data: bytes) -> np.ndarray:
        """Events [N] of all lines that are complete now."""
        cut = data.rfind(b"\n") + 1
        block, self.carry = (self.carry + data[:cut], data[cut:]) if cut else (b"", self.carry + data)
        if self.skipping and block:  # of the overlong line an empty one is left
            block, self.skipping = block[block.index(b"\n") :], False
        events = self._lines(block) if block else no_events()
        if len(self.carry) > LINE_LIMIT or self.skipping:
            if not self.skipping:
                self._refuse(self.line + len(self._pending) + 1, self.carry)
            self.skipping, self.carry = True, b""
        return events

    def finish(self) -> np.ndarray:
        """Events [N], N <= 1, of a last line without a newline; writes the note about lines that are no events."""
        events = self._lines(self.carry + b"\n") if self.carry and not self.skipping else no_events()
        self.carry = b""
        if self.layout is None and self._pending:
            self.layout = self.settle()
            events = self._flush()
        if self.first_bad is not None:
            lines = "1 line is" if self.bad == 1 else f"{self.bad} lines are"
            names, (number, shown) = (self.layout or CsvLayout()).names, self.first_bad
            self.losses.note(
                f"{self.name}: {lines} not an event; the first is line {number}: {shown!r} "
                f"(expected {len(names)} numbers with {','.join(names)})"
            )
        return events

    def _lines(self, block: bytes) -> np.ndarray:
        if self.layout is None:
            return self._learn(block)
        if self._first:
            block = self._drop_header(block)
        count = block.count(b"\n")
        events = self._plain(block, count)
        if events is None:
            events = self._one_by_one(block)
        self.line += count
        return events

    def _learn(self, block: bytes) -> np.ndarray:
        """Keeps the lines until they tell their layout."""
        lines = block.split(b"\n")[:-1]
        for at, line in enumerate(lines):
            self._pending.append(line[: LINE_LIMIT + 1])
            if self.look(line):
                self.layout = self.settle(len(self._pending) >= UNDECIDED)
                if self.layout is not None:
                    events = self._flush()
                    rest = b"".join(one + b"\n" for one in lines[at + 1 :])
                    return np.concatenate([events, self._lines(rest)]) if rest else events
        return no_events()

    def _flush(self) -> np.ndarray:
        block = b"".join(line + b"\n" for line in self._pending)
        self._pending = []
        return self._lines(block)

    def look(self, line: bytes) -> bool:
        """Shows a line; whether it may have made the layout known."""
        line = line.removeprefix(BOM) if not self._looked else line
        self._looked += 1
        if len(line) > LINE_LIMIT:
            return len(self._pending) >= UNDECIDED
        line = line.strip()
        if found := re.fullmatch(rb"%\s*geometry[: ]+([0-9]{1,5})[,x]([0-9]{1,5})", line):
            self._sensor = int(found[1]), int(found[2])
        if is_comment(line):
            return len(self._pending) >= UNDECIDED
        if self._finder is None and (size := read_size(line)):
            self._sensor = size
            return False
        if self._finder is None:
            mark = find_mark(line)
            fields = split(line, mark)
            header = is_header(fields)
            if self._said is not None:
                self._said = replace(self._said, mark=self._said.mark or mark)
                self._finder = Finder(self.name, self._said)
                return True
            self._finder = Finder(
                self.name, read_header(f"{self.name}: line {self._looked}", fields, mark) if header else None
            )
            if header:
                named = self._finder.named
                return named is not None and named.unit is not None
        self._finder.add(line)
        return True

    def settle(self, final: bool = True) -> CsvLayout | None:  # never None where final
        """The layout, from the lines that were looked at."""
        finder = self._finder or Finder(self.name)
        named = self._said or (finder.named if finder.named is not None and finder.named.unit else None)
        layout = named or finder.take(final)
        if layout is None:
            return None
        return replace(layout, mark=layout.mark or b",", sensor=layout.sensor or self._sensor)

    def _drop_header(self, block: bytes) -> bytes:
        """An empty line in the place of a header, and of the sensor's size before it."""
        assert self.layout is not None
        lines = (block.removeprefix(BOM) if self.line == 0 else block).split(b"\n")
        for at, line in enumerate(lines[:-1]):
            stripped = line.strip()
            if len(line) <= LINE_LIMIT and not is_comment(stripped):
                if read_size(stripped):
                    lines[at] = b""
                    continue
                self._first = False
                if is_header(self.layout.split(stripped)):
                    lines[at] = b""
                break
        return b"\n".join(lines)

    def _plain(self, block: bytes, count: int) -> np.ndarray | None:
        """Events of all lines at once; None when some line is not as many plain numbers as there are columns."""
        if not count:
            return no_events()
        if len(block) > LINE_LIMIT and max(map(len, block.split(b"\n"))) > LINE_LIMIT:
            return None
        layout = self.layout
        assert layout is not None
        if layout.mark == b" " and b"," in block:
            return None
        block = with_commas(block, layout.mark)
        plain = REAL if layout.real else PLAIN
        if block.translate(None, plain) or b",," in block or b",\n" in block or b"\n," in block or block[:1] == b",":
            return None
        if any(
            sign + end in block for sign in (b"-", b"+") for end in (b",", b"\n")
        ):  # NumPy takes a minus alone for a zero
            return None
        raw = np.frombuffer(block, np.uint8)
        commas, columns = np.cumsum(raw == ord(","))[raw == ord("\n")], len(layout.names)
        if not np.array_equal(np.diff(commas, prepend=0), np.full(count, columns - 1)):
            return None
        with warnings.catch_warnings():  # "1-2" passes the checks above; NumPy then warns and stops early
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                kind = np.float64 if layout.real else np.int64
                values = np.fromstring(block.replace(b"\n", b",").decode("ascii"), dtype=kind, sep=",")
            except ValueError:
                return None
        if values.size != count * columns:
            return None
        table = values.reshape(count, columns)
        t, x, y, p = (table[:, layout.at[field]] for field in "txyp")
        # a line with an unusual value is left to the parser of single lines, which says what is wrong with it
        odd = (x < 0) | (x > 65535) | (y < 0) | (y > 65535) | (p < -1) | (p > 1)
        if layout.real:
            t = np.rint(t * US[layout.unit or "us"])
            odd |= (x % 1 != 0) | (y % 1 != 0) | (p % 1 != 0)
        elif layout.unit == "ns":
            odd |= (t >= 1 << 62) | (t <= -(1 << 62))
            t = t // 1000
        if (odd | (t >= T_LIMIT_US) | (t <= -T_LIMIT_US)).any():
            return None
        return make_events(t, x, y, p > 0)

    def _one_by_one(self, block: bytes) -> np.ndarray:
        assert self.layout is not None
        rows = []
        outside = 0
        for number, line in enumerate(block.split(b"\n")[:-1], self.line + 1):
            overlong = len(line) > LINE_LIMIT
            line = line if overlong else line.strip()
            if is_comment(line) and not overlong:
                continue
            row = None if overlong else _event(line, self.layout)
            if row is None:
                self._refuse(number, line)
            elif not (0 <= row[1] <= 65535 and 0 <= row[2] <= 65535):
                outside += 1
            else:
                rows.append(row)
        self.losses.add(outside, "outside any sensor")
        if not rows:
            return no_events()
        t, x, y, p = zip(*rows, strict=True)
        return make_events(np.array(t, np.int64), np.array(x), np.array(y), np.array(p))

    def _refuse(self, number: int, line: bytes) -> None:
        self.bad += 1
        self.losses.invalid += 1
        if self.first_bad is None or number < self.first_bad[0]:
            self.first_bad = number, line[:40].decode("latin-1")


def _event(line: bytes, layout: CsvLayout) -> tuple[int, int, int, bool] | None:
    fields = layout.split(line)
    if len(fields) != len(layout.names):
        return None
    text = fields[layout.at["t"]]
    x, y, p = (_integer(fields[layout.at[name]]) for name in "xyp")
    if p is None:
        p = POLARITIES.get(fields[layout.at["p"]].strip(b'"').lower())
    t = _integer(text)
    if layout.real and NUMBER.fullmatch(text):
        value = float(text) * US[layout.unit or "us"]
        t = int(np.rint(value)) if abs(value) < T_LIMIT_US else None
    elif layout.unit == "ns" and t is not None:
        t //= 1000
    if t is None or x is None or y is None or p not in (-1, 0, 1) or abs(t) >= T_LIMIT_US:
        return None
    return t, x, y, p > 0


def _integer(text: bytes) -> int | None:
    """A whole number, also when written as 12.0; None for anything else."""
    if (b"e" in text or b"E" in text) and NUMBER.fullmatch(text):
        real = float(text)
        return int(real) if abs(real) < T_LIMIT_US and real % 1 == 0 else None
    whole, dot, fraction = text.partition(b".")
    if dot and fraction.strip(b"0"):
        return None
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits.lstrip(b"0")) >= 20:
        return None
    value = int(digits[-20:])  # what is before are zeros, and int() refuses some thousand of them
    return value if digits is whole else -value


FORMAT = Format(open_recording, matches)
