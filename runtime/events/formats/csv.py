"""Events as text, one a line: t,x,y,p in microseconds, or in the order that a header line names.

p is 0/1, -1/1 or false/true. Empty lines and '#' comments are passed over. Any other line counts as one invalid event,
and so does one longer than LINE_LIMIT; a note shows the first such line. A block of plain integers is parsed as a whole; a
block with anything else in it is parsed line by line, with the same result.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import FIELD_NAMES, T_LIMIT_US, find_fields, make_events, no_events
from runtime.events.formats.base import Format, Losses, Recording, read_chunks

PLAIN = b"0123456789,-\n"
WORDS = {b"false": 0, b"true": 1}
LINE_LIMIT = 4096  # a longer line is no event; no more than this is kept of a line that is not complete yet
BOM = b"\xef\xbb\xbf"


def matches(head: bytes, path: Path) -> bool:
    """Whether the first line that is neither empty nor a comment is an event or a header."""
    del path
    if b"\0" in head:
        return False
    for line in head.removeprefix(BOM).splitlines():
        line = line.strip()
        if line and not line.startswith(b"#"):
            fields = line.split(b",")
            return len(fields) >= 4 and (_is_header(fields) or _event(line, _ORDER, 4) is not None)
    return False


def open_recording(path: Path) -> Recording:
    # a file of one header line must be an error here, and only reading tells that there is no event
    losses = Losses()
    if not any(len(events) for events in _decode(path, losses)) and not losses.invalid:
        raise PlifError(f"{path}: holds a header and no events: record it again or check the copy")
    return Recording("csv", lambda losses: _decode(path, losses))


def _decode(path: Path, losses: Losses) -> Iterator[np.ndarray]:
    parser = CsvParser(str(path), losses)
    for chunk in read_chunks(path, 0, 1, losses):
        yield parser.feed(chunk.tobytes())
    yield parser.finish()


_ORDER = {"t": 0, "x": 1, "y": 2, "p": 3}


class CsvParser:
    """Text in pieces of any size -> events [N]. `name` stands in messages and notes; lost events are counted in `losses`."""

    def __init__(self, name: str, losses: Losses) -> None:
        self.name, self.losses = name, losses
        self.order: dict[str, int] | None = None  # unknown until the first line
        self.columns = 4
        self.carry = b""
        self.skipping = False  # inside a line longer than LINE_LIMIT
        self.line = 0  # lines finished so far
        self.bad = 0
        self.first_bad = ""

    def feed(self, data: bytes) -> np.ndarray:
        """Events [N] of all lines that are complete now."""
        cut = data.rfind(b"\n") + 1
        block, self.carry = (self.carry + data[:cut], data[cut:]) if cut else (b"", self.carry + data)
        if self.skipping and block:  # of the overlong line an empty one is left
            block, self.skipping = block[block.index(b"\n") :], False
        events = self._lines(block) if block else no_events()
        if len(self.carry) > LINE_LIMIT or self.skipping:
            if not self.skipping:
                self._refuse(self.line + 1, self.carry)
            self.skipping, self.carry = True, b""
        return events

    def finish(self) -> np.ndarray:
        """Events [N], N <= 1, of a last line without a newline; writes the note about lines that are no events."""
        events = self._lines(self.carry + b"\n") if self.carry and not self.skipping else no_events()
        self.carry = b""
        if self.bad:
            lines = "1 line is" if self.bad == 1 else f"{self.bad} lines are"
            self.losses.note(f"{self.name}: {lines} not an event; the first is {self.first_bad}")
        return events

    def _lines(self, block: bytes) -> np.ndarray:
        if self.order is None:
            block = self._header(block)
        count = block.count(b"\n")
        events = self._plain(block, count)
        if events is None:
            events = self._one_by_one(block)
        self.line += count
        return events

    def _header(self, block: bytes) -> bytes:
        """Learns the order of the columns from the first line that is not a comment; returns what follows the header."""
        block = block.removeprefix(BOM) if self.line == 0 else block
        while block:
            first, _, rest = block.partition(b"\n")
            line = first.strip()
            if len(first) > LINE_LIMIT:
                self._refuse(self.line + 1, first)
            elif line and not line.startswith(b"#"):
                fields = line.split(b",")
                if not _is_header(fields):
                    self.order = _ORDER
                    return block
                names = [name.decode("latin-1") for name in fields]
                self.order = find_fields(names)
                if self.order is None:
                    known = "; ".join("|".join(names) for names in FIELD_NAMES.values())
                    raise PlifError(
                        f"{self.name}: line {self.line + 1}: the header {','.join(names)[:80]!r} does not name "
                        f"each of t, x, y, p once (known names: {known})"
                    )
                self.columns = len(names)
                self.line += 1
                return rest
            self.line += 1
            block = rest
        return block

    def _plain(self, block: bytes, count: int) -> np.ndarray | None:
        """Events of all lines at once; None when some line is not `columns` plain integers."""
        if not count:
            return no_events()
        if len(block) > LINE_LIMIT and max(map(len, block.split(b"\n"))) > LINE_LIMIT:
            return None
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if block.translate(None, PLAIN) or b",," in block or b",\n" in block or b"\n," in block or block[:1] == b",":
            return None
        if b"-," in block or b"-\n" in block:  # NumPy takes a minus alone for a zero
            return None
        raw = np.frombuffer(block, np.uint8)
        commas = np.cumsum(raw == ord(","))[raw == ord("\n")]
        if not np.array_equal(np.diff(commas, prepend=0), np.full(count, self.columns - 1)):
            return None
        with warnings.catch_warnings():  # "1-2" passes the checks above; NumPy then warns and stops early
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                values = np.fromstring(block.replace(b"\n", b",").decode("ascii"), dtype=np.int64, sep=",")
            except ValueError:
                return None
        if values.size != count * self.columns:
            return None
        values = values.reshape(count, self.columns)
        assert self.order is not None
        t, x, y, p = (values[:, self.order[field]] for field in "txyp")
        # a line with an unusual value is left to the parser of single lines, which says what is wrong with it
        odd = (
            (t >= T_LIMIT_US) | (t <= -T_LIMIT_US) | (x < 0) | (x > 65535) | (y < 0) | (y > 65535) | (p < -1) | (p > 1)
        )
        return None if odd.any() else make_events(t, x, y, p > 0)

    def _one_by_one(self, block: bytes) -> np.ndarray:
        assert self.order is not None
        rows = []
        outside = 0
        for number, line in enumerate(block.split(b"\n")[:-1], self.line + 1):
            overlong = len(line) > LINE_LIMIT
            line = line if overlong else line.strip()
            if not line or (line.startswith(b"#") and not overlong):
                continue
            row = None if overlong else _event(line, self.order, self.columns)
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
        if not self.first_bad:
            shown = line[:40].decode("latin-1")
            columns = ",".join(sorted(_ORDER, key=(self.order or _ORDER).__getitem__))
            self.first_bad = f"line {number}: {shown!r} (expected {self.columns} numbers with {columns})"


def _is_header(fields: list[bytes]) -> bool:
    """A line of names: no field starts like a number."""
    return all(field.strip()[:1].isalpha() or field.strip()[:1] in (b'"', b"_") for field in fields)


def _event(line: bytes, order: dict[str, int], columns: int) -> tuple[int, int, int, bool] | None:
    fields = line.split(b",")
    if len(fields) != columns:
        return None
    t, x, y, p = (_integer(fields[order[name]].strip()) for name in "txyp")
    if p is None:
        p = WORDS.get(fields[order["p"]].strip().lower())
    if t is None or x is None or y is None or p not in (-1, 0, 1) or abs(t) >= T_LIMIT_US:
        return None
    return t, x, y, p > 0


def _integer(text: bytes) -> int | None:
    """A whole number, also when written as 12.0; None for anything else."""
    whole, dot, fraction = text.partition(b".")
    if dot and fraction.strip(b"0"):
        return None
    digits = whole.removeprefix(b"-")
    if not digits.isdigit() or len(digits.lstrip(b"0")) >= 20:
        return None
    value = int(digits[-20:])  # what is before are zeros, and int() refuses some thousand of them
    return value if digits is whole else -value


FORMAT = Format("csv", matches, open_recording)
