"""The decoder of file formats with words of one size, and the texts for its losses.

libplif decodes (runtime/native/formats/formats.c) and counts the words that it cannot use; this module feeds it
chunks.
"""

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
LOSS_REASONS = {
    "untimed": "before the first TIME_HIGH",
    "unrowed": "before the first row address",
    "unbased": "in a vector without a base",
    "past_end": "in a vector that runs past column 2047",
    "no_pixel": "that are sync inputs or have an address no DVS128 pixel has",
    "marked": "marked invalid by the camera",
}


class Decoder:
    """A decoder of a file's fixed-size words (binary records); its state (time, row, ...) lasts between chunks."""

    def __init__(self, kind: Words) -> None:
        self.state = interface.Decoding.new()
        self._library, self._kind = interface.library(), kind
        self.word_bytes: int = self._library.plif_word_bytes(kind)

    def feed(self, words: np.ndarray, losses: Losses) -> np.ndarray:
        """Decode the next chunk of a recording, complete words in an array of any dtype, to events [M]."""
        words = np.ascontiguousarray(words)  # a chunk of a file is contiguous and not copied
        memory = words.ctypes.data, words.nbytes
        out = np.empty(self._library.plif_decode_most(self._kind, *memory), EVENT_DTYPE)
        state, used = ctypes.byref(self.state), ctypes.byref(ctypes.c_int64())
        count = self._library.plif_decode(self._kind, state, *memory, out.ctypes.data, len(out), used)
        count_losses(self.state, losses)
        return out[:count]


def count_losses(state: interface.Decoding, losses: Losses) -> None:
    for name, reason in LOSS_REASONS.items():
        losses.add(getattr(state, name), reason)
        setattr(state, name, 0)


def decode_words(decoder: Decoder, path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    """Decode all words of a file from byte `offset` on, and yield their events [N]."""
    for chunk in read_chunks(path, offset, decoder.word_bytes, losses):
        yield decoder.feed(chunk, losses)
