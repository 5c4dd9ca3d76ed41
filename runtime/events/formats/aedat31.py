"""AEDAT 3.1 (the original DVS128 Gesture files): text header, then packets, all little-endian.

    packet header, 28 bytes:  type i2, source i2, event size i4, time offset i4, time overflow i4,
                              capacity i4, number i4, valid i4
    body: capacity * size bytes, of which only the first `number` events are real
    polarity event (type 1):  data u4: bit 0 valid, bit 1 p, bits 2-16 y, bits 17-31 x;  time i4
    t = time + (overflow << 31) us

Reading `capacity` events, or ignoring the valid bit, invents events: both are mistakes found in common readers.
Some writers never set the bit: a packet whose header counts all events valid while not one has its bit set is believed
by its header, and a note says so.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import SENSORS, make_events
from runtime.events.formats.base import CHUNK_BYTES, HEADER_LIMIT, Format, Log, Recording, refuse_header_only

MAGIC = b"#!AER-DAT3.1"
END = b"#!END-HEADER\r\n"
PACKET = struct.Struct("<hhiiiiii")
POLARITY = 1
EVENT_BYTES = 8
PIECE = CHUNK_BYTES // EVENT_BYTES  # events decoded at a time
SENSOR_OF = {"DVS128": (128, 128), "DAVIS240": (240, 180), "DAVIS346": (346, 260), "DAVIS640": (640, 480)}


def open_recording(path: Path, head: bytes) -> Recording:
    with open(path, "rb") as file:
        text = head if END in head else file.read(HEADER_LIMIT)
    end = text.find(END)
    if end < 0:
        raise PlifError(f"{path}: the AEDAT 3.1 header does not end with '#!END-HEADER': the file is cut or damaged")
    offset = end + len(END)
    refuse_header_only(path, offset)
    source = re.search(rb"#Source \d+: *([A-Za-z]+\d+)", text[:end])
    sensor = SENSOR_OF.get(source.group(1).decode().upper()) if source else None
    own = re.search(rb"#Sensor: *([1-9][0-9]{0,4})x([1-9][0-9]{0,4})\r\n", text[:end])  # plif stream --record says more
    if own:
        sensor = int(own[1]), int(own[2])
    turned = re.search(rb"#Upright: *(rotate180|flip_y)\r\n", text[:end])
    upright = turned[1].decode() if turned else "identity"
    return Recording("aedat31", lambda log: _decode(path, offset, log), sensor, upright, SENSORS[1:])


def _decode(path: Path, offset: int, log: Log) -> Iterator[np.ndarray]:
    size = path.stat().st_size
    unset = 0
    while offset < size:
        with open(path, "rb") as file:
            file.seek(offset)
            header = file.read(PACKET.size)
        if len(header) < PACKET.size:
            log.note(f"{path}: {len(header)} bytes are left over at byte {offset}: the last packet header is cut")
            break
        kind, _, event_bytes, _, overflow, capacity, number, valid = PACKET.unpack(header)
        wrong_size = kind == POLARITY and event_bytes != EVENT_BYTES
        if kind < 0 or event_bytes <= 0 or not 0 <= number <= capacity or overflow < 0 or wrong_size:
            log.note(
                f"{path}: the packet header at byte {offset} is damaged (type {kind}, event size {event_bytes}, "
                f"capacity {capacity}, number {number}): the {size - offset} bytes from there are not read"
            )
            break
        body = offset + PACKET.size
        offset = body + capacity * event_bytes
        there = min(number, max(0, size - body) // event_bytes)
        if kind != POLARITY:
            if there < number:
                log.note(f"{path}: the packet at byte {body - PACKET.size} is cut (it holds no change events)")
            continue
        log.lose(number - there, f"cut off at the end of the file (byte {size})")
        for start in range(0, there, PIECE):
            count = min(PIECE, there - start)
            words = np.fromfile(path, "<u4", 2 * count, offset=body + start * EVENT_BYTES).reshape(-1, 2)
            data = words[:, 0]
            good = (data & 1) == 1
            if valid == number and not good.any():
                unset += count
            else:
                log.lose(int(len(good) - good.sum()), "marked invalid by the camera")
                words = words[good]
                data = words[:, 0]
            t = words[:, 1].astype(np.int64) + (overflow << 31)
            yield make_events(t, data >> 17, (data >> 2) & 0x7FFF, (data & 2) != 0)
    if unset:
        log.note(f"{path}: {unset} events whose packets count them valid have no valid bit set: used all the same")


FORMAT = Format("aedat31", lambda head, path: head.startswith(MAGIC), open_recording)
