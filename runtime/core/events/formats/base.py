"""What every file format shares: Format and Recording, the losses of lost events, reading in chunks.

To add a format: a folder in runtime/formats with a part.py (runtime/core/parts.py), CONTRACT = "Format" and MAGIC, and with
`FORMAT = Format(open_recording)`. It reads in bounded packets, gives the same events for every packet size, and counts what it
cannot use. Words of one size are decoded in C, for Python and for programs without it: a function from a word to its events in
runtime/native/formats/formats.c, and its number in words.py; `decode_words` does the rest.

A decoder sees a file as chunks of a quarter of a megabyte and keeps its state (time base, row, ...) from one chunk to the
next: memory stays constant for a file of any size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import SENSORS

if TYPE_CHECKING:
    from runtime.native.interface import Evt3Reader

CHUNK_BYTES = 1 << 18  # a few times this, as temporary arrays, still fits the processor's cache
HEAD_BYTES = 1 << 16  # a format is recognised by this much of the file's beginning
HEADER_LIMIT = 1 << 20  # bytes; a text header longer than this is not one (jAER's have some 100 kB)


@dataclass
class Losses:
    """What a decoder could not use: `invalid` counts events, `notes` has one line for each kind of loss."""

    invalid: int = 0
    notes: list[str] = field(default_factory=list)
    _reasons: dict[str, int] = field(default_factory=dict)

    def add(self, count: int, reason: str) -> None:
        """`count` events cannot be used; `reason` completes 'N events ...'."""
        if count:
            self.invalid += count
            self._reasons[reason] = self._reasons.get(reason, 0) + count

    def note(self, line: str) -> None:
        self.notes.append(line)

    def close(self, name: str) -> None:
        """Turn the counts into notes; called once, when the recording ends."""
        for reason, count in sorted(self._reasons.items()):  # not as they came first, which depends on the pieces
            self.notes.append(f"{name}: {count} event{'s' * (count != 1)} {reason}: not used")
        self._reasons.clear()


@dataclass(frozen=True)
class Recording:
    """One opened file. `decode(losses)` starts at the beginning at each call; it yields events [N] of bounded N, in file order.

    `upright` says how the stored view becomes the camera's upright one: "identity", "rotate180", "rotate90", "rotate270"
    (x -> width-1-x, y -> height-1-y) or "flip_y" (y -> height-1-y). `sensor` is (width, height), None when the file
    does not say; then one of `sensors` is guessed (runtime/core/events/size.py). `guesses` has a line for
    each other thing that the file does not say. `words(losses)`, where it is not None, yields the same file as words that a
    framer takes as they are, uint16 [N], each with the reader of the file, which counts the events. `advice` is what to look at
    where nothing in it can be used.
    """

    format: str
    decode: Callable[[Losses], Iterator[np.ndarray]]
    sensor: tuple[int, int] | None = None
    upright: str = "identity"
    sensors: tuple[tuple[int, int], ...] = SENSORS
    guesses: tuple[str, ...] = ()
    advice: str = "is the file what it was read as, and whole?"
    words: Callable[[Losses], Iterator[tuple[np.ndarray, Evt3Reader]]] | None = None


@dataclass(frozen=True)
class Format:
    """A file format, FORMAT of its part, whose part.py has the MAGIC with which its files begin.

    open     reads the header; what a user may say of such a file are its keywords
    matches  of a part with LAST, which has no MAGIC: whether a file that begins so is one; the path only breaks ties
    refusal  why a file that nobody reads, or a folder, is none either, though it looks like one; with what to do
    """

    open: Callable[..., Recording]
    matches: Callable[[bytes, Path], bool] = lambda head, path: False
    refusal: Callable[[bytes, Path], str | None] = lambda head, path: None


def read_chunks(path: Path, offset: int, word: int, losses: Losses) -> Iterator[np.ndarray]:
    """uint8 [N] from `offset` to the end, N a multiple of `word` bytes. A cut word at the end becomes a note."""
    size = max(1, CHUNK_BYTES // word) * word
    with open(path, "rb") as file:
        file.seek(offset)
        carry = b""
        while block := file.read(size):
            offset += len(block)
            block = carry + block
            whole = len(block) // word * word
            carry = block[whole:]
            if whole:
                yield np.frombuffer(block, dtype=np.uint8, count=whole)
        if carry:
            losses.note(
                f"{path}: {len(carry)} {'byte is' if len(carry) == 1 else 'bytes are'} left over at byte "
                f"{offset - len(carry)}: the last {word}-byte word is cut"
            )


def read_header(path: Path, mark: bytes, end: str | None = None) -> tuple[list[str], int]:
    """The leading lines that start with `mark`, without it, and the offset of the first byte after them.

    The line `end` is the last one, whatever follows: events may look like a line.
    """
    lines: list[str] = []
    with open(path, "rb") as file:
        while True:
            offset = file.tell()
            line = file.readline(HEADER_LIMIT + 1 - offset)
            if not line.startswith(mark):
                return lines, offset
            if offset + len(line) > HEADER_LIMIT:
                raise PlifError(f"{path}: the header does not end within {HEADER_LIMIT} bytes: not a recording")
            if not line.endswith(b"\n"):
                raise PlifError(f"{path}: the file ends inside its header (at byte {offset + len(line)})")
            lines.append(line[len(mark) :].decode("latin-1").strip())
            if lines[-1] == end:
                return lines, offset + len(line)


def refuse_header_only(path: Path, offset: int) -> None:
    """PlifError for a file that ends with its header: it holds no recording, which is not the same as zero events."""
    if path.stat().st_size <= offset:
        raise PlifError(f"{path}: holds a header ({offset} bytes) and no events: record it again or check the copy")
