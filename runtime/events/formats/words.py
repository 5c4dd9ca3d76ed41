"""Words of one size -> events. Their decoder is libplif's (runtime/native/formats/formats.c), which counts what it cannot use;
here it gets its chunks, and here is what is said of the losses."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.events.array import EVENT_DTYPE
from runtime.events.formats.base import Losses, read_chunks
from runtime.native import interface

# In the order of enum file_format (formats.h).
NUMBERS = {name: i for i, name in enumerate(("nmnist", "evt2", "evt21", "evt3", "dat", "aedat2", "aedat31"))}
VERSIONS = {"evt2": "EVT 2.0", "evt21": "EVT 2.1", "evt3": "EVT 3.0"}
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

    def __init__(self, name: str) -> None:
        self.state = interface.Decoding.new()
        self._library, self._number = interface.library(), NUMBERS[name]
        self.word_bytes: int = self._library.plif_word_bytes(self._number)

    def feed(self, words: np.ndarray, losses: Losses) -> np.ndarray:
        """One chunk of whole words, an array of any dtype -> its events [M]."""
        words = np.ascontiguousarray(words)  # a chunk of a file is contiguous and not copied
        given = words.ctypes.data, words.nbytes
        out = np.empty(self._library.plif_decode_most(self._number, *given), EVENT_DTYPE)
        state, used = ctypes.byref(self.state), ctypes.byref(ctypes.c_int64())
        made = self._library.plif_decode(self._number, state, *given, out.ctypes.data, len(out), used)
        add_lost(self.state, losses)
        return out[:made]


def add_lost(state: interface.Decoding, losses: Losses) -> None:
    for name, reason in LOST.items():
        losses.add(getattr(state, name), reason)
        setattr(state, name, 0)


def note_unknown(state: interface.Decoding, name: str, path: Path, losses: Losses) -> None:
    """At the end of a file."""
    if state.unknown:
        losses.note(f"{path}: {state.unknown} words of a type that {VERSIONS[name]} does not have: passed over")


def decode_words(name: str, path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    """The events [N] of all words from byte `offset` on, of a file of that format."""
    decoder = Decoder(name)
    for chunk in read_chunks(path, offset, decoder.word_bytes, losses):
        yield decoder.feed(chunk, losses)
    note_unknown(decoder.state, name, path, losses)


def looks_like(name: str, head: bytes) -> bool:
    """Whether a file without a header that begins so is EVT 2.0 or EVT 3.0, by the types of its words and its clock."""
    return bool(interface.library().plif_looks_like(NUMBERS[name], head, len(head)))
