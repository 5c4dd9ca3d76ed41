"""AEDAT 2.0 of a DVS128 (jAER): '#' header lines, then big-endian pairs (address uint32, time uint32 in microseconds).

    x = (address >> 1) & 127      y = (address >> 8) & 127      p = 1 - (address & 1): bit 0 clear means ON

These are the stored coordinates; the upright picture is x -> 127 - x, y -> 127 - y (checked on recordings of people).
CIFAR10-DVS comes in this format. Times wrap at 2^32 us. Addresses above bit 14 are sync inputs, not pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import Format, Recording, read_header, refuse_header_only
from runtime.core.events.formats.words import Decoder, Words, decode_words

# Chips with the DVS128's address layout; a DAVIS packs its addresses differently.
CHIPS = ("dvs128", "tmpdiff128")


def open_recording(path: Path) -> Recording:
    lines, offset = read_header(path, b"#")
    for line in lines:
        name, _, chip = line.partition(":")
        if name.strip() == "AEChip" and not any(supported in chip.lower() for supported in CHIPS):
            raise PlifError(f"{path}: AEDAT 2.0 of the chip{chip}: only the DVS128's address layout is read")
    refuse_header_only(path, offset)
    return Recording(
        "aedat2",
        lambda losses: decode_words(Decoder(Words.AEDAT2), path, offset, losses),
        sensor=(128, 128),
        upright="rotate180",
    )


# AEDAT 1.0 of jAER, without a header: the same address in 16 bits, and the time in 32, big-endian.
VERSION_1, LEAST_WORDS, MOST_STEP_US = np.dtype([("address", ">u2"), ("t", ">u4")]), 16, 1_000_000


def is_aedat1(head: bytes) -> bool:
    """Return whether a file without a magic number is AEDAT 1.0, from the structure of its first bytes.

    Addresses have 15 bits, and times (nearly) never step back.
    """
    words = np.frombuffer(head, VERSION_1, len(head) // VERSION_1.itemsize)
    steps = np.diff(words["t"].astype(np.uint32))  # modulo 2^32, where the time starts again
    pixels = np.mean(words["address"] < 1 << 15) if len(words) >= LEAST_WORDS else 0
    return bool(pixels >= 0.99 and steps.any() and np.mean(steps < MOST_STEP_US) >= 0.99)


def refusal(head: bytes, path: Path) -> str | None:
    """Return the reason why an AEDAT 1.0 file, with jAER's header or without, is refused; None for other files."""
    if head.startswith(b"#!AER-DAT1"):
        version = "AEDAT 1.0"
    elif is_aedat1(head):
        version = "AEDAT 1.0 without a header (jAER's AER-DAT1.0, addresses of 16 bits)"
    else:
        return None
    return f"{version}, which plif does not read: open it in jAER and save it as AEDAT 2.0"


FORMAT = Format(open_recording, refusal=refusal)
