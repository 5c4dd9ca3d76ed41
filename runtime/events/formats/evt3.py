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

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.events.formats import evt
from runtime.events.formats.base import Format, Losses, read_chunks
from runtime.events.formats.words import add_lost, looks_like, note_unknown
from runtime.native.interface import Decoding, Evt3Reader

WORD = 2


def matches(head: bytes, path: Path) -> bool:
    if (named := evt.is_version(head, "3.0")) is not None:
        return named
    return path.suffix.lower() == ".raw" and looks_like("evt3", head)  # without a header: only in a .raw file


def _words(path: Path, offset: int, losses: Losses) -> Iterator[tuple[np.ndarray, Evt3Reader]]:
    """The words as they are; see Recording."""
    reader = Evt3Reader(decoder=Decoding.new())
    for chunk in read_chunks(path, offset, WORD, losses):
        yield chunk.view("<u2"), reader
        add_lost(reader.decoder, losses)
    note_unknown(reader.decoder, "evt3", path, losses)


FORMAT = Format("evt3", matches, lambda path: evt.open_raw(path, "evt3", _words))
