"""Event Stream 2.x: magic "Event Stream", version (3 bytes), type (1 byte), width and height (uint16 LE), then bytes.

    DVS (type 1)   0xFF adds 127 us, 0xFE does nothing; else an event: dt << 1 | p, then x and y as uint16 LE
    ATIS (type 2)  0b111111nn adds 63 n us; else dt << 2 | p << 1 | exposure, then x and y

t starts at 0, and row 0 is the lowest. Exposure measurements of an ATIS are no change events. An event takes 5 bytes
and any other code takes one byte, so the start of an event depends on all bytes before it. `_find_starts` finds the
starts by pointer doubling.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import make_events
from runtime.core.events.formats.base import Format, Losses, Recording, read_chunks, refuse_header_only

HEADER_BYTES = 20
EVENT_BYTES = 5
DVS, ATIS = 1, 2
TYPES = {0: "generic", DVS: "DVS", ATIS: "ATIS", 3: "display", 4: "colour"}
BLOCK_BYTES = 1 << 16  # small enough that the tables of jumps stay in the processor's cache
DOUBLINGS = 3  # the Python loop then takes one step for 2^3 starts; more tables cost more than they save


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        head = file.read(HEADER_BYTES)
    if len(head) < HEADER_BYTES:
        raise PlifError(f"{path}: the file ends inside its header (at byte {len(head)} of {HEADER_BYTES})")
    major, minor, patch, kind, width, height = struct.unpack("<12xBBBBHH", head)
    if major != 2:
        raise PlifError(f"{path}: Event Stream version {major}.{minor}.{patch} is not read, only version 2")
    if kind not in (DVS, ATIS):
        raise PlifError(f"{path}: an Event Stream of {TYPES.get(kind, kind)} events; only DVS and ATIS are read")
    refuse_header_only(path, HEADER_BYTES)
    if not width or not height:
        raise PlifError(f"{path}: the header gives a sensor of {width}x{height}: the file is damaged")
    return Recording("es", lambda losses: _decode(path, kind == ATIS, losses), sensor=(width, height), upright="flip_y")


def _decode(path: Path, atis: bool, losses: Losses) -> Iterator[np.ndarray]:
    byte = np.arange(256)
    if atis:
        control = byte >= 0b11111100
        step_us = np.where(control, 63 * (byte & 0b11), byte >> 2)
    else:
        control = byte >= 0b11111110
        step_us = np.where(control, np.where(byte == 0xFF, 127, 0), byte >> 1)
    length = np.where(control, 1, EVENT_BYTES).astype(np.int32)
    t, exposures = 0, 0
    carry = np.zeros(0, np.uint8)
    for chunk in read_chunks(path, HEADER_BYTES, 1, losses):
        for offset in range(0, len(chunk), BLOCK_BYTES):
            data = np.concatenate([carry, chunk[offset : offset + BLOCK_BYTES]])
            starts = _find_starts(length[data])
            code = data[starts]
            if len(starts) and starts[-1] + length[code[-1]] > len(data):  # the last event continues in the next block
                carry, starts, code = data[starts[-1] :], starts[:-1], code[:-1]
            else:
                carry = data[:0]
            times = t + np.cumsum(step_us[code])
            t = int(times[-1]) if len(times) else t
            event = ~control[code]
            starts, code, times = starts[event], code[event], times[event]
            if atis:
                change = (code & 1) == 0
                exposures += int(len(change) - change.sum())
                starts, code, times = starts[change], code[change], times[change]
            x = data[starts + 1].astype(np.uint16) | data[starts + 2].astype(np.uint16) << 8
            y = data[starts + 3].astype(np.uint16) | data[starts + 4].astype(np.uint16) << 8
            yield make_events(times, x, y, (code >> int(atis) & 1) == 1)
    if exposures:
        losses.note(f"{path}: {exposures} exposure measurements are no change events: passed over")
    if len(carry):
        size = path.stat().st_size
        losses.note(f"{path}: {len(carry)} bytes are left over at byte {size - len(carry)}: the last event is cut")


def _find_starts(length: np.ndarray) -> np.ndarray:
    """Find the offsets at which codes start in a block of Event Stream bytes, int32 [K].

    They are 0, 0 + length[0], and so on. length [N]: for each byte, the length of a code that starts there. Tables of
    jumps over 1, 2, 4 ... 2^DOUBLINGS starts are made first. The longest table finds some starts, the others the
    rest.
    """
    end = len(length)
    jump = np.append(np.minimum(np.arange(end, dtype=np.int32) + length, end), np.int32(end))  # `end` leads to itself
    jumps = [jump]
    for _ in range(DOUBLINGS):
        jumps.append(jumps[-1][jumps[-1]])
    far = jumps.pop().tolist()  # the only part in Python: every 2^DOUBLINGS-th start
    anchors, offset = [], 0
    while offset < end:
        anchors.append(offset)
        offset = far[offset]
    starts = np.array(anchors, dtype=np.int32)
    for jump in reversed(jumps):
        starts = np.stack([starts, jump[starts]], axis=1).ravel()
    return starts[starts < end]


FORMAT = Format(open_recording)
