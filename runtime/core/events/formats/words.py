"""Words of one size -> events. Their decoder is libplif's (runtime/native/formats/formats.c), which counts what it cannot use;
here it gets its chunks, and here is what is said of the losses."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import numpy as np

from runtime.core.events.array import EVENT_DTYPE
from runtime.core.events.formats.base import Losses, read_chunks
from runtime.native import interface

Words = IntEnum("Words", "NMNIST EVT2 EVT21 EVT3 DAT AEDAT2 AEDAT31", start=0)  # enum file_format of formats.h
LOST = {
    "untimed": "before the first TIME_HIGH",
    "unrowed": "before the first row address",
    "unbased": "in a vector without a base",
    "past_end": "in a vector that runs past column 2047",
    "no_pixel": "that are sync inputs or have an address no DVS128 pixel has",
    "marked": "marked invalid by the camera",
}


class Decoder:
    """Decodes chunk after chunk; what a word sets (time, row, ...) is kept for the chunks that follow."""

    def __init__(self, kind: Words) -> None:
        self.state = interface.Decoding.new()
        self._library, self._kind = interface.library(), kind
        self.word_bytes: int = self._library.plif_word_bytes(kind)

    def feed(self, words: np.ndarray, losses: Losses) -> np.ndarray:
        """One chunk of whole words, an array of any dtype -> its events [M]."""
        words = np.ascontiguousarray(words)  # a chunk of a file is contiguous and not copied
        given = words.ctypes.data, words.nbytes
        out = np.empty(self._library.plif_decode_most(self._kind, *given), EVENT_DTYPE)
        state, used = ctypes.byref(self.state), ctypes.byref(ctypes.c_int64())
        made = self._library.plif_decode(self._kind, state, *given, out.ctypes.data, len(out), used)
        add_lost(self.state, losses)
        return out[:made]


def add_lost(state: interface.Decoding, losses: Losses) -> None:
    for name, reason in LOST.items():
        losses.add(getattr(state, name), reason)
        setattr(state, name, 0)


def decode_words(decoder: Decoder, path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    """The events [N] of all words from byte `offset` of a file on."""
    for chunk in read_chunks(path, offset, decoder.word_bytes, losses):
        yield decoder.feed(chunk, losses)
