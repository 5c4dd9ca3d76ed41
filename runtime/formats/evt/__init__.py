"""Prophesee's raw formats: a '%' text header, which names the version and the sensor, and little-endian words.

EVT 2.0: little-endian 32-bit words, type in bits 28-31.

    0x0 CD_OFF, 0x1 CD_ON   bits 22-27 t[5:0], bits 11-21 x, bits 0-10 y
    0x8 TIME_HIGH           bits 0-27 t[33:6]
    0xA trigger, 0xE other, 0xF continued: no change events

Times wrap at 2^34 us. Events before the first TIME_HIGH have no time: invalid. The '%' header may be missing.

EVT 2.1: little-endian 64-bit words, type in bits 60-63. An event word holds up to 32 pixels of a row.

    0x0 negative, 0x1 positive   bits 54-59 t[5:0], bits 43-53 x of the first pixel, bits 32-42 y, bits 0-31 which pixels
    0x8 TIME_HIGH                bits 32-59 t[33:6]
    0xA trigger, 0xE other, 0xF continued: no change events

Times wrap at 2^34 us. Events before the first TIME_HIGH have no time: invalid. Files of the first cameras, with
endianness=legacy in their header, are refused.

EVT 3.0: little-endian 16-bit words, type in bits 12-15, a state machine of time, row and vector base.

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

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import (
    HEAD_BYTES,
    HEADER_LIMIT,
    Format,
    Losses,
    Recording,
    read_chunks,
    read_header,
    refuse_header_only,
)
from runtime.core.events.formats.words import Decoder, Words, count_losses, decode_words
from runtime.native.interface import Decoding, Evt3Reader, library

VERSIONS = {"3.0": Words.EVT3, "2.1": Words.EVT21, "2.0": Words.EVT2}

# Older headers name the camera and not its size: a word of the header, and the sensor of that camera.
CAMERAS = (
    ("genx320", (320, 320)),
    ("imx636", (1280, 720)),
    ("gen41", (1280, 720)),
    ("gen4", (1280, 720)),
    ("gen31", (640, 480)),
    ("gen3", (640, 480)),
    ("ccam5", (640, 480)),
)
SENSORS = ((304, 240), (320, 320), (640, 480), (1280, 720))


def read_version(head: bytes) -> str | None:
    """Return the EVT version that a file's header states, such as "2.0" or "3.0"; None without such a header."""
    if not head.startswith(b"%"):
        return None
    match = re.search(rb"^% *evt +(\d(?:\.\d)?)|^% *format +EVT(\d+)", head, re.MULTILINE | re.IGNORECASE)
    if match is None:
        return None
    if match.group(1):
        version = match.group(1).decode()
    else:
        digits = match.group(2).decode()
        version = f"{digits[0]}.{digits[1:] or '0'}"
    return version if "." in version else version + ".0"


def detect_version(head: bytes, path: Path) -> str | None:
    """Detect the EVT version of a file from its first bytes, such as "3.0"; None when it is no EVT file."""
    if head.startswith(b"%"):
        return read_version(head)
    raw = path.suffix.lower() == ".raw"
    if raw and _has_word_types(Words.EVT3, head):  # a file without a header must be a .raw file
        return "3.0"
    return "2.0" if len(head) >= 4 * (2 if raw else 16) and _has_word_types(Words.EVT2, head) else None


def _has_word_types(kind: Words, head: bytes) -> bool:
    """Return whether the first bytes of a file look like words of an EVT version, by their types and clock."""
    return bool(library().plif_looks_like(kind, head, len(head)))


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        head = file.read(HEAD_BYTES)
        header_tail = file.read(HEADER_LIMIT - HEAD_BYTES) if read_version(head) == "2.1" else b""
    version = detect_version(head, path)
    assert version is not None
    kind = VERSIONS[version]
    if kind == Words.EVT21 and b"endianness=legacy" in (head + header_tail).partition(b"% end")[0]:
        raise PlifError(
            f"{path}: EVT 2.1 with endianness=legacy is not read: metavision_file_to_csv -i FILE -o OUT.csv converts it"
        )
    sensor, offset = read_sensor(path)
    refuse_header_only(path, offset)
    return Recording(
        kind.name.lower(),
        lambda losses: _decode(version, path, offset, losses),
        sensor,
        sensors=SENSORS,
        words=(lambda losses: _read_words(path, offset, losses)) if kind == Words.EVT3 else None,
    )


def _decode(version: str, path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    decoder = Decoder(VERSIONS[version])
    yield from decode_words(decoder, path, offset, losses)
    _note_unknown_words(decoder.state, version, path, losses)


def _read_words(path: Path, offset: int, losses: Losses) -> Iterator[tuple[np.ndarray, Evt3Reader]]:
    """Yield the raw 16-bit words, uint16 [N], of an EVT 3.0 file, each block with the reader that can decode it."""
    reader = Evt3Reader(decoder=Decoding.new())
    for chunk in read_chunks(path, offset, 2, losses):
        yield chunk.view("<u2"), reader
        count_losses(reader.decoder, losses)
    _note_unknown_words(reader.decoder, "3.0", path, losses)


def _note_unknown_words(state: Decoding, version: str, path: Path, losses: Losses) -> None:
    if state.unknown:
        losses.note(f"{path}: {state.unknown} words of a type that EVT {version} does not have: passed over")


def _parse_pixels(digits: str) -> int:
    return int(digits[:9])  # nine digits already exceed any sensor, and int() refuses some thousand


def read_sensor(path: Path) -> tuple[tuple[int, int] | None, int]:
    """Read the header of an EVT file: the sensor's (width, height) or None, and the byte offset of the events.

    Returns (None, 0) without a header.
    """
    lines, offset = read_header(path, b"% ", end="end")
    text = "\n".join(lines).lower()
    if match := re.search(r"geometry +([0-9]+)x([0-9]+)", text):
        return (_parse_pixels(match[1]), _parse_pixels(match[2])), offset
    # two searches: one expression for both would scan the header again for each "width="
    width, height = re.search(r"width=([0-9]+)", text), re.search(r"height=([0-9]+)", text)
    if width and height:
        return (_parse_pixels(width[1]), _parse_pixels(height[1])), offset
    for word, sensor in CAMERAS:
        if word in text:
            return sensor, offset
    return None, offset


def refusal(head: bytes, path: Path) -> str | None:
    version = read_version(head)
    return version and f"EVT {version} is not read, only EVT 2.0, 2.1 and 3.0: convert it first"


FORMAT = Format(open_recording, lambda head, path: detect_version(head, path) in VERSIONS, refusal)
