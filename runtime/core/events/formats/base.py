"""The types and helpers that all file formats share: Format, Recording, Losses, and reading in chunks.

To add a format: a folder in runtime/formats with a part.py (runtime/core/parts.py), CONTRACT = "Format" and MAGIC, and
with `FORMAT = Format(open_recording)`. It reads in bounded packets, returns the same events for every packet size, and
counts the events that it cannot use. Words of one size are decoded in C, for Python and for programs without it: a
function from a word to its events in runtime/native/formats/formats.c, and its number in words.py; `decode_words` does
the rest.

A decoder sees a file as chunks of a quarter of a megabyte and keeps its state (time base, row, ...) from one chunk to
the next: memory stays constant for a file of any size.
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
    """The counts of the events that a decoder could not use, by reason, and the notes about them.

    `invalid` counts them, `notes` has one line for each kind of loss.
    """

    invalid: int = 0
    notes: list[str] = field(default_factory=list)
    _reasons: dict[str, int] = field(default_factory=dict)

    def add(self, count: int, reason: str) -> None:
        """Count events that a decoder cannot use, for a reason that completes the text 'N events ...'."""
        if count:
            self.invalid += count
            self._reasons[reason] = self._reasons.get(reason, 0) + count

    def note(self, line: str) -> None:
        self.notes.append(line)

    def close(self, name: str) -> None:
        """Turn the counts of a recording's unusable events into notes; called once, when the recording ends."""
        for reason, count in sorted(
            self._reasons.items()
        ):  # sorted, since the order of first occurrence depends on the chunks
            self.notes.append(f"{name}: {count} event{'s' * (count != 1)} {reason}: not used")
        self._reasons.clear()


@dataclass(frozen=True)
class Recording:
    """One opened recording file: its format, its sensor and its decoder.

    `decode(losses)` starts at the beginning at each call; it yields events [N] of bounded N, in file order. `upright`
    is the rotation that makes the stored view upright: "identity", "rotate180", "rotate90", "rotate270" (x ->
    width-1-x, y -> height-1-y) or "flip_y" (y -> height-1-y). `sensor` is (width, height), None when the file does
    not say it; then one of `sensors` is guessed (runtime/core/events/size.py). `guesses` has a line for each other
    fact that the file does not say. `words(losses)`, where it is not None, yields the undecoded words of the file for
    a framer, uint16 [N], each with the reader of the file, which counts the events. `advice` says what to check if no
    event can be used.
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
    """A file format of recordings: how its files are opened, recognised and refused.

    It is FORMAT of its part; MAGIC in part.py has the first bytes of its files.

    open     reads the header; its keywords are the user's options for such a file
    matches  for a part with LAST, which has no MAGIC: whether a file with this beginning is one; the path only breaks
             ties
    refusal  explains why a file that no format reads, or a folder, is none, though it looks like one; and what to do
    """

    open: Callable[..., Recording]
    matches: Callable[[bytes, Path], bool] = lambda head, path: False
    refusal: Callable[[bytes, Path], str | None] = lambda head, path: None


def read_chunks(path: Path, offset: int, word: int, losses: Losses) -> Iterator[np.ndarray]:
    """Read a file from byte `offset` on in chunks uint8 [N], N a multiple of `word` bytes.

    A cut word at the end becomes a note.
    """
    size = max(1, CHUNK_BYTES // word) * word
    with open(path, "rb") as file:
        file.seek(offset)
        carry = b""
        while block := file.read(size):
            offset += len(block)
            block = carry + block
            usable = len(block) // word * word
            carry = block[usable:]
            if usable:
                yield np.frombuffer(block, dtype=np.uint8, count=usable)
        if carry:
            losses.note(
                f"{path}: {len(carry)} {'byte is' if len(carry) == 1 else 'bytes are'} left over at byte "
                f"{offset - len(carry)}: the last {word}-byte word is cut"
            )


def read_header(path: Path, mark: bytes, end: str | None = None) -> tuple[list[str], int]:
    """Read the first lines of a recording file that start with `mark`; return them and the offset after them.

    The lines come without the mark. The line `end` is the last one, whatever follows: events may look like a line.
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
    """Refuse a file that ends with its header: it holds no recording, which differs from zero events."""
    if path.stat().st_size <= offset:
        raise PlifError(f"{path}: holds a header ({offset} bytes) and no events: record it again or check the copy")
