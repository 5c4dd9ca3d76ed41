"""AEDAT 2.0 of a DVS128 (jAER): '#' header lines, then big-endian pairs (address uint32, time uint32 in microseconds).

    x = (address >> 1) & 127      y = (address >> 8) & 127      p = 1 - (address & 1): bit 0 clear means ON

These are the stored coordinates; the upright picture is x -> 127 - x, y -> 127 - y (checked on recordings of people).
CIFAR10-DVS comes in this format. Times wrap at 2^32 us. Addresses above bit 14 are sync inputs, not pixels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from runtime.base.errors import PlifError
from runtime.events.formats.base import Format, Recording, read_header, refuse_header_only
from runtime.events.formats.words import decode_words

MAGIC = b"#!AER-DAT2.0"
# Chips with the DVS128's address layout; a DAVIS packs its addresses differently and would decode to nonsense.
CHIPS = ("dvs128", "tmpdiff128")


def open_recording(path: Path) -> Recording:
    lines, offset = read_header(path, b"#")
    for line in lines:
        name, _, chip = line.partition(":")
        if name.strip() == "AEChip" and not any(known in chip.lower() for known in CHIPS):
            raise PlifError(f"{path}: AEDAT 2.0 of the chip{chip}: only the DVS128's address layout is read")
    refuse_header_only(path, offset)
    decode = partial(decode_words, "aedat2", path, offset)
    return Recording("aedat2", decode, sensor=(128, 128), upright="rotate180")


FORMAT = Format("aedat2", MAGIC, open_recording)
