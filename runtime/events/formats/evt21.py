"""Prophesee EVT 2.1: little-endian 64-bit words, type in bits 60-63. An event word holds up to 32 pixels of a row.

    0x0 negative, 0x1 positive   bits 54-59 t[5:0], bits 43-53 x of the first pixel, bits 32-42 y, bits 0-31 which pixels
    0x8 TIME_HIGH                bits 32-59 t[33:6]
    0xA trigger, 0xE other, 0xF continued: no change events

Times wrap at 2^34 us. Events before the first TIME_HIGH have no time: invalid. Files of the first cameras, whose header says
endianness=legacy, are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import make_events
from runtime.events.formats import evt
from runtime.events.formats.base import HEADER_LIMIT, Format, Losses, Recording, Unwrapper, forward_fill, read_chunks
from runtime.events.formats.evt2 import KNOWN, TIME_HIGH

WORD, PIXELS = 8, 32
PIECE = 1 << 13  # words at a time: each may become 32 events


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        if b"endianness=legacy" in file.read(HEADER_LIMIT).partition(b"% end")[0]:
            raise PlifError(
                f"{path}: EVT 2.1 with endianness=legacy is not read: metavision_file_to_csv -i FILE -o OUT.csv converts it"
            )
    return evt.open_raw(path, "evt21", _decode)


def _decode(path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    unwrap = Unwrapper(28)
    high, unknown = -1, 0  # high: the time base in units of 64 us, -1 before the first TIME_HIGH
    for chunk in read_chunks(path, offset, WORD, losses):
        whole = chunk.view("<u8")
        for at in range(0, len(whole), PIECE):
            words = whole[at : at + PIECE]
            kind = (words >> np.uint64(60)).astype(np.int64)
            is_high = kind == TIME_HIGH
            base = forward_fill(is_high, unwrap(_bits(words[is_high], 32, 28)), high)
            high = int(base[-1])
            unknown += int(len(kind) - KNOWN[kind].sum())
            event = kind <= 1
            timed = event & (base >= 0)
            losses.add(int(_pixels(words[event & ~timed]).sum()), "before the first TIME_HIGH")
            word = words[timed]
            index, pixel = np.nonzero(_pixels(word))
            x, y = _bits(word, 43, 11)[index] + pixel, _bits(word, 32, 11)[index]
            t = (base[timed] << 6 | _bits(word, 54, 6))[index]
            yield make_events(t, x, y, kind[timed][index] == 1)
    if unknown:
        losses.note(f"{path}: {unknown} words of a type that EVT 2.1 does not have: passed over")


def _bits(words: np.ndarray, first: int, count: int) -> np.ndarray:
    """Bits `first` to `first + count - 1` of each word, int64 [N]."""
    return (words >> np.uint64(first)).astype(np.int64) & ((1 << count) - 1)


def _pixels(words: np.ndarray) -> np.ndarray:
    """bool [N, 32]: which pixels of each word fired; pixel i is bit i."""
    return (_bits(words, 0, PIXELS)[:, None] >> np.arange(PIXELS) & 1) == 1


FORMAT = Format("evt21", lambda head, path: bool(evt.is_version(head, "2.1")), open_recording)
