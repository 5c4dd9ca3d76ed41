"""Prophesee EVT 3.0: little-endian 16-bit words, type in bits 12-15, a state machine of time, row and vector base.

    0x0 ADDR_Y      row of the events that follow (bits 0-10)
    0x2 ADDR_X      one event: x in bits 0-10, p in bit 11
    0x3 VECT_BASE_X x of the next vector (bits 0-10) and its p (bit 11)
    0x4 VECT_12     twelve pixels from the base, one bit each; the base moves on by 12
    0x5 VECT_8      eight pixels, the base moves on by 8
    0x6 TIME_LOW    t[11:0]        0x8 TIME_HIGH  t[23:12]
    0x7, 0xF continued, 0xA trigger, 0xE other: no change events

t = TIME_HIGH << 12 | TIME_LOW. A new TIME_HIGH means TIME_LOW 0 until one follows; a repeated one changes nothing.
Times wrap at 2^24 us (16.8 s); a TIME_LOW that steps back is jitter and adds nothing.
Events without a TIME_HIGH, a row or a vector base are invalid. The '%' header may be missing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.events.array import EVENT_DTYPE
from runtime.events.formats import evt
from runtime.events.formats.base import Format, Losses, read_chunks
from runtime.native import packets

WORD = 2
TIME_LOW, TIME_HIGH = 0x6, 0x8
KNOWN = np.isin(np.arange(16), [0x0, 0x2, 0x3, 0x4, 0x5, 0x6, 0x7, 0x8, 0xA, 0xE, 0xF])
LOST = {
    "untimed": "before the first TIME_HIGH",
    "unrowed": "before the first row address",
    "unbased": "in a vector without a base",
    "past_end": "in a vector that runs past column 2047",
}


def matches(head: bytes, path: Path) -> bool:
    if (named := evt.is_version(head, "3.0")) is not None:
        return named
    # without a header: only in a .raw file, all words of a known type, and a clock that runs forward
    words = np.frombuffer(head[: len(head) // WORD * WORD], "<u2")
    kind = words >> 12
    high = (words[kind == TIME_HIGH] & 0xFFF).astype(np.int64)
    if path.suffix.lower() != ".raw" or not len(high) or not (kind == TIME_LOW).any():
        return False
    step = np.diff(high, prepend=high[0])
    return bool(KNOWN[kind].mean() >= 0.999 and np.mean((step >= 0) | (step < -2048)) >= 0.9)


def _decode(path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    decoder = Decoder()
    for chunk in read_chunks(path, offset, WORD, losses):
        yield decoder.feed(chunk.view("<u2"), losses)
    _note_unknown(decoder.unknown, path, losses)


def _words(path: Path, offset: int, losses: Losses) -> Iterator[tuple[np.ndarray, packets.Evt3Reader]]:
    """The words as they are; see Recording."""
    reader = packets.Evt3Reader(decoder=_new_state())
    for chunk in read_chunks(path, offset, WORD, losses):
        yield chunk.view("<u2"), reader
        _add_lost(reader.decoder, losses)
    _note_unknown(reader.decoder.unknown, path, losses)


def _note_unknown(count: int, path: Path, losses: Losses) -> None:
    if count:
        losses.note(f"{path}: {count} words of a type that EVT 3.0 does not have: passed over")


def _new_state() -> packets.Evt3State:
    return packets.Evt3State(high=-1, row=-1, base=-1, raw_high=-1)


def _add_lost(state: packets.Evt3State, losses: Losses) -> None:
    for name, reason in LOST.items():
        losses.add(getattr(state, name), reason)
        setattr(state, name, 0)


class Decoder:
    """Decodes chunk after chunk, in C; what a word sets (time, row, vector base) is kept for the chunks that follow."""

    def __init__(self) -> None:
        self._library = packets.library()
        self._state = _new_state()

    @property
    def unknown(self) -> int:
        """Words so far of a type that EVT 3.0 does not have."""
        return int(self._state.unknown)

    def feed(self, words: np.ndarray, losses: Losses) -> np.ndarray:
        """One chunk of words, uint16 [N] -> its events [M]."""
        words = np.require(words, "<u2", ["C", "A"])  # a chunk of a file has this form already and is not copied
        state, address = self._state, words.ctypes.data
        out = np.empty(self._library.plif_evt3_most(address, words.nbytes), EVENT_DTYPE)
        made = self._library.plif_evt3(address, words.nbytes, ctypes.byref(state), out.ctypes.data, out.nbytes)
        _add_lost(state, losses)
        return out[:made]


FORMAT = Format("evt3", matches, lambda path: evt.open_raw(path, "evt3", _decode, _words))
