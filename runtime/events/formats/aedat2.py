"""AEDAT 2.0 of a DVS128 (jAER): '#' header lines, then big-endian pairs (address uint32, time uint32 in microseconds).

    x = (address >> 1) & 127      y = (address >> 8) & 127      p = 1 - (address & 1): bit 0 clear means ON

These are the stored coordinates; the camera-upright picture is x -> 127 - x, y -> 127 - y (checked on recordings of
people). CIFAR10-DVS comes in this format. Times wrap at 2^32 us. Addresses above bit 14 are sync inputs, not pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import make_events
from runtime.events.formats.base import Format, Log, Recording, Unwrap, chunks_of, refuse_header_only, text_header

MAGIC = b"#!AER-DAT2.0"
WORD = 8
# Chips with the DVS128's address layout; a DAVIS packs its addresses differently and would decode to nonsense.
CHIPS = ("dvs128", "tmpdiff128")


def open_recording(path: Path, head: bytes) -> Recording:
    del head
    lines, offset = text_header(path, b"#")
    for line in lines:
        name, _, chip = line.partition(":")
        if name.strip() == "AEChip" and not any(known in chip.lower() for known in CHIPS):
            raise PlifError(f"{path}: AEDAT 2.0 of the chip{chip}: only the DVS128's address layout is read")
    refuse_header_only(path, offset)
    return Recording("aedat2", lambda log: _decode(path, offset, log), sensor=(128, 128), upright="rotate180")


def _decode(path: Path, offset: int, log: Log) -> Iterator[np.ndarray]:
    unwrap = Unwrap(32)
    for chunk in chunks_of(path, offset, WORD, log):
        words = chunk.view(">u4").reshape(-1, 2)
        address = words[:, 0].astype(np.uint32)
        t = unwrap(words[:, 1])
        pixel = address < 1 << 15
        log.lose(int(len(pixel) - pixel.sum()), "that are sync inputs or have an address no DVS128 pixel has")
        address, t = address[pixel], t[pixel]
        yield make_events(t, (address >> 1) & 127, (address >> 8) & 127, (address & 1) == 0)


FORMAT = Format("aedat2", lambda head, path: head.startswith(MAGIC), open_recording)
