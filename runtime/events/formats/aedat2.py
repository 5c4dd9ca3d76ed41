"""AEDAT 2.0 of a DVS128 (jAER): '#' header lines, then big-endian pairs (address uint32, time uint32 in microseconds).

    x = (address >> 1) & 127      y = (address >> 8) & 127      p = 1 - (address & 1): bit 0 clear means ON

These are the stored coordinates; the upright picture is x -> 127 - x, y -> 127 - y (checked on recordings of people).
CIFAR10-DVS comes in this format. Times wrap at 2^32 us. Addresses above bit 14 are sync inputs, not pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import make_events
from runtime.events.formats.base import (
    Format,
    Losses,
    Recording,
    Unwrapper,
    read_chunks,
    read_header,
    refuse_header_only,
)

MAGIC = b"#!AER-DAT2.0"
WORD = 8
# Chips with the DVS128's address layout; a DAVIS packs its addresses differently and would decode to nonsense.
CHIPS = ("dvs128", "tmpdiff128")


def open_recording(path: Path) -> Recording:
    lines, offset = read_header(path, b"#")
    for line in lines:
        name, _, chip = line.partition(":")
        if name.strip() == "AEChip" and not any(known in chip.lower() for known in CHIPS):
            raise PlifError(f"{path}: AEDAT 2.0 of the chip{chip}: only the DVS128's address layout is read")
    refuse_header_only(path, offset)
    return Recording("aedat2", lambda losses: _decode(path, offset, losses), sensor=(128, 128), upright="rotate180")


def _decode(path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    unwrap = Unwrapper(32)
    for chunk in read_chunks(path, offset, WORD, losses):
        words = chunk.view(">u4").reshape(-1, 2)
        yield decode_dvs128(words[:, 0], unwrap(words[:, 1]), losses)


def decode_dvs128(address: np.ndarray, t_us: np.ndarray, losses: Losses) -> np.ndarray:
    """Addresses of a DVS128, uint32 [N], and times in us, int64 [N] -> events [M]. Addresses of no pixel are lost."""
    address = address.astype(np.uint32)
    pixel = address < 1 << 15
    losses.add(int(len(pixel) - pixel.sum()), "that are sync inputs or have an address no DVS128 pixel has")
    address, t_us = address[pixel], t_us[pixel]
    return make_events(t_us, (address >> 1) & 127, (address >> 8) & 127, (address & 1) == 0)


FORMAT = Format("aedat2", lambda head, path: head.startswith(MAGIC), open_recording)
