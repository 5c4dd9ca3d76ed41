"""AEDAT 3.1, of the original DVS128 Gesture files and of `plif stream --record`: a text header, then packets.

All numbers are little-endian.

    packet header, 28 bytes:  type i2, source i2, event size i4, time offset i4, time overflow i4,
                              capacity i4, number i4, valid i4
    body: capacity * size bytes, of which only the first `number` events are real
    polarity event (type 1):  data u4: bit 0 valid, bit 1 p, bits 2-16 y, bits 17-31 x;  time i4
    t = time + (overflow << 31) us

A reader that takes `capacity` events, or that ignores the valid bit, invents events; common readers make both mistakes. Some
writers never set the bit. When a packet's header counts all events valid and no event has its bit set, the reader trusts the
header and adds a note.

The writer appends 8 bytes an event, in packets, so a recording can be read while it is written. Every t from 0 to below
2^61 us, every x and y below 32768 and p come back exactly. Two of its header lines belong to plif, and other readers skip
them: #Sensor: WIDTHxHEIGHT and #Upright: identity|rotate180|flip_y.
"""

from __future__ import annotations

import ctypes
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.events.array import SENSORS, T_LIMIT_US
from runtime.core.events.formats.base import CHUNK_BYTES, HEADER_LIMIT, Format, Losses, Recording, refuse_header_only
from runtime.core.events.formats.words import Decoder, Words
from runtime.native import interface

MAGIC = b"#!AER-DAT3.1"
END = b"#!END-HEADER\r\n"
PACKET = struct.Struct("<hhiiiiii")
POLARITY = 1
EVENT_BYTES = 8
PIECE = CHUNK_BYTES // EVENT_BYTES  # events decoded at a time
COORDINATES = 1 << 15  # x and y have 15 bits
EVENTS_A_PACKET = 1 << 16  # at most, when we write
SENSOR_OF = {"DVS128": (128, 128), "DAVIS240": (240, 180), "DAVIS346": (346, 260), "DAVIS640": (640, 480)}


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        text = file.read(HEADER_LIMIT)
    end = text.find(END)
    if end < 0:
        raise PlifError(f"{path}: the AEDAT 3.1 header does not end with '#!END-HEADER': the file is cut or damaged")
    offset = end + len(END)
    refuse_header_only(path, offset)
    coding = re.search(rb"#Format: *([^\r\n]{1,60})", text[:end])
    if coding and coding[1].strip().upper() != b"RAW":
        raise PlifError(
            f"{path}: AEDAT 3.1 in the encoding {coding[1].decode('latin-1').strip()!r}; only RAW is read: "
            "save it again without compression (caer: RAW)"
        )
    source = re.search(rb"#Source \d+: *([A-Za-z]+\d+)", text[:end])
    sensor = SENSOR_OF.get(source.group(1).decode().upper()) if source else None
    sensor_line = re.search(rb"#Sensor: *([1-9][0-9]{0,4})x([1-9][0-9]{0,4})\r\n", text[:end])  # the line of plif
    if sensor_line:
        sensor = int(sensor_line[1]), int(sensor_line[2])
    upright_line = re.search(rb"#Upright: *(rotate180|flip_y|rotate90|rotate270)\r\n", text[:end])
    upright = upright_line[1].decode() if upright_line else "identity"
    return Recording("aedat31", lambda losses: _decode(path, offset, losses), sensor, upright, SENSORS[1:])


def _decode(path: Path, offset: int, losses: Losses) -> Iterator[np.ndarray]:
    size = path.stat().st_size
    library, decoder, packet, unset_count = interface.library(), Decoder(Words.AEDAT31), interface.PacketHeader(), 0
    with open(path, "rb") as file:
        while offset < size:
            file.seek(offset)
            header = file.read(PACKET.size)
            if len(header) < PACKET.size:
                losses.note(
                    f"{path}: {len(header)} bytes are left over at byte {offset}: the last packet header is cut"
                )
                break
            if not library.plif_aedat31_packet(header, ctypes.byref(packet)):
                losses.note(
                    f"{path}: the packet header at byte {offset} is damaged (type {packet.kind}, event size "
                    f"{packet.event_bytes}, capacity {packet.capacity}, number {packet.number}): "
                    f"the {size - offset} bytes from there are not read"
                )
                break
            begin, body, number = offset, offset + PACKET.size, packet.number
            offset = body + packet.capacity * packet.event_bytes
            stored = min(number, max(0, size - body) // packet.event_bytes)  # fewer than `number` where the file is cut
            if packet.kind != POLARITY:
                if stored < number:
                    losses.note(f"{path}: the packet at byte {begin} is cut (it holds no change events)")
                continue
            losses.add(number - stored, f"cut off at the end of the file (byte {size})")
            # for the whole packet: the reader uses all of its events or none
            trusts_header = packet.valid == number and not any(
                library.plif_any_valid(words.ctypes.data, words.nbytes) for words in _read_packet(file, body, stored)
            )
            unset_count += stored if trusts_header else 0
            decoder.state.overflow, decoder.state.believed = packet.overflow, trusts_header
            for words in _read_packet(file, body, stored):
                yield decoder.feed(words, losses)
    if unset_count:
        losses.note(f"{path}: {unset_count} events whose packets count them valid have no valid bit set: used anyway")


def _read_packet(file: BinaryIO, body: int, count: int) -> Iterator[np.ndarray]:
    """Yield the raw bytes, uint8, of the events of one AEDAT 3.1 packet, a piece at a time."""
    file.seek(body)
    for start in range(0, count, PIECE):
        yield np.frombuffer(file.read(EVENT_BYTES * min(PIECE, count - start)), np.uint8)


def make_header(sensor: tuple[int, int], upright: str = "identity") -> bytes:
    """Make the text header of an AEDAT 3.1 file. Raises PlifError for a sensor that the format cannot hold."""
    width, height = sensor
    if not (0 < width <= COORDINATES and 0 < height <= COORDINATES):
        raise PlifError(f"a sensor of {width}x{height} does not fit AEDAT 3.1, which ends at {COORDINATES}")
    lines = f"#Format: RAW\r\n#Source 1: PLIF\r\n#Sensor: {width}x{height}\r\n#Upright: {upright}\r\n"
    return MAGIC + b"\r\n" + lines.encode() + END


def write_packets(file: BinaryIO, events: np.ndarray) -> None:
    """Append events [N] to an AEDAT 3.1 file, in their order.

    Raises PlifError for a time that the format cannot hold.
    """
    if not len(events):
        return
    t = events["t"]
    if t.min() < 0 or t.max() >= T_LIMIT_US:
        worst = t.min() if t.min() < 0 else t.max()
        raise PlifError(f"an event at {worst} us cannot be recorded: AEDAT 3.1 holds times from 0 to {T_LIMIT_US} us")
    overflow = t >> 31
    cuts = np.flatnonzero(np.diff(overflow)) + 1  # the header holds the upper bits of t: one value for each packet
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(events)], strict=True):
        for begin in range(start, stop, EVENTS_A_PACKET):
            piece = events[begin : min(begin + EVENTS_A_PACKET, stop)]
            n = len(piece)
            words = np.empty((n, 2), "<u4")
            x, y = piece["x"].astype(np.uint32), piece["y"].astype(np.uint32)
            words[:, 0] = x << 17 | y << 2 | piece["p"] * np.uint32(2) | 1
            words[:, 1] = piece["t"] & 0x7FFFFFFF
            file.write(PACKET.pack(POLARITY, 1, EVENT_BYTES, 4, int(overflow[begin]), n, n, n) + words.tobytes())


def refusal(head: bytes, path: Path) -> str | None:
    is_other_version = head.startswith(b"#!AER-DAT3")
    return "an AEDAT 3 other than 3.1, which plif does not read: convert it with DV" if is_other_version else None


FORMAT = Format(open_recording, refusal=refusal)
