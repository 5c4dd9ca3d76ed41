"""Prophesee DAT, version 2: '%' header lines, one byte event type, one byte event size (8), then little-endian pairs.

    time uint32 us,  data uint32: bits 0-13 x, bits 14-27 y, bits 28-31 p

Times wrap at 2^32 us (71.6 minutes).
"""

from __future__ import annotations

import re
from pathlib import Path

from runtime.core.base.errors import PlifError
from runtime.core.events.formats.base import Format, Recording, read_header, refuse_header_only
from runtime.core.events.formats.words import Decoder, Words, decode_words

WORD = 8
CHANGE_EVENTS = (0x00, 0x0C)  # "2d" of the first cameras, "CD" of current ones
NAMES_EVT = re.compile(rb"^% *(evt +|format +EVT)\d", re.MULTILINE | re.IGNORECASE)


def open_recording(path: Path) -> Recording:
    lines, offset = read_header(path, b"% ", end="end")
    values = {parts[0].lower(): parts[1] for parts in (line.split(None, 1) for line in lines) if len(parts) == 2}
    if values.get("version", "2").strip() != "2":
        raise PlifError(f"{path}: DAT version {values['version']} is not read, only version 2: convert it first")
    with open(path, "rb") as file:
        file.seek(offset)
        kind = file.read(2)
    if len(kind) == 2 and (kind[0] not in CHANGE_EVENTS or kind[1] != WORD):
        raise PlifError(
            f"{path}: at byte {offset} DAT events of type {kind[0]} and {kind[1]} bytes; "
            f"only change events (type 0 or 12) of {WORD} bytes are read"
        )
    refuse_header_only(path, offset + 2)
    width, height = values.get("width", ""), values.get("height", "")
    is_valid = re.fullmatch(r"[1-9][0-9]{0,8}", width) and re.fullmatch(r"[1-9][0-9]{0,8}", height)
    sensor = (int(width), int(height)) if is_valid else None
    return Recording("dat", lambda losses: decode_words(Decoder(Words.DAT), path, offset + 2, losses), sensor=sensor)


def matches(head: bytes, path: Path) -> bool:
    """Return whether a file has the event format Prophesee DAT, judged by the structure of its first bytes.

    '%' lines come first, none of them names EVT; then the type of the events and the size of one.
    """
    if head.startswith(b"% Data file containing"):  # open_recording refuses it if the rest is wrong
        return True
    if not head.startswith(b"% ") or NAMES_EVT.search(head):
        return False
    offset = 0
    while head.startswith(b"% ", offset):
        line, offset = head[offset : head.find(b"\n", offset)], head.find(b"\n", offset) + 1
        if not offset or line.strip() == b"% end":
            break
    return bool(offset) and len(head) >= offset + 2 and head[offset] in CHANGE_EVENTS and head[offset + 1] == WORD


FORMAT = Format(open_recording, matches)
