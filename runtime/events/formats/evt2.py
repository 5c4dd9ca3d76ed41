"""Prophesee EVT 2.0: little-endian 32-bit words, type in bits 28-31.

    0x0 CD_OFF, 0x1 CD_ON   bits 22-27 t[5:0], bits 11-21 x, bits 0-10 y
    0x8 TIME_HIGH           bits 0-27 t[33:6]
    0xA trigger, 0xE other, 0xF continued: no change events

Times wrap at 2^34 us. Events before the first TIME_HIGH have no time: invalid. The '%' header may be missing.
"""

from __future__ import annotations

from pathlib import Path

from runtime.events.formats import evt
from runtime.events.formats.base import Format
from runtime.events.formats.words import looks_like

WORD = 4


def matches(head: bytes, path: Path) -> bool:
    if (named := evt.is_version(head, "2.0")) is not None:
        return named
    return len(head) >= WORD * (2 if path.suffix.lower() == ".raw" else 16) and looks_like("evt2", head)


FORMAT = Format("evt2", matches, lambda path: evt.open_raw(path, "evt2"))
