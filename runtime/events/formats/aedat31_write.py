"""Writes AEDAT 3.1 as events come: 8 bytes an event, in packets, so that what is there is readable at any moment.

Every t from 0 to below 2^61 us, every x and y below 32768 and p come back exactly (`aedat31.py` reads it). Two header lines
are ours, and others' readers pass over them: #Sensor: WIDTHxHEIGHT and #Upright: identity|rotate180|flip_y.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np

from runtime.base.errors import PlifError
from runtime.events.array import T_LIMIT_US
from runtime.events.formats.aedat31 import END, EVENT_BYTES, MAGIC, PACKET, POLARITY

COORDINATES = 1 << 15
EVENTS_A_PACKET = 1 << 16


def header(sensor: tuple[int, int], upright: str = "identity") -> bytes:
    """The text before the packets. PlifError for a sensor that the format cannot hold."""
    width, height = sensor
    if not (0 < width <= COORDINATES and 0 < height <= COORDINATES):
        raise PlifError(f"a sensor of {width}x{height} does not fit AEDAT 3.1, which ends at {COORDINATES}")
    lines = (
        MAGIC,
        b"#Format: RAW",
        b"#Source 1: PLIF",
        f"#Sensor: {width}x{height}".encode(),
        f"#Upright: {upright}".encode(),
    )
    return b"\r\n".join(lines) + b"\r\n" + END


def write_packets(file: BinaryIO, events: np.ndarray) -> None:
    """Events [N], in their order. PlifError for a time that the format cannot hold."""
    if not len(events):
        return
    t = events["t"]
    if t.min() < 0 or t.max() >= T_LIMIT_US:
        worst = t.min() if t.min() < 0 else t.max()
        raise PlifError(f"an event at {worst} us cannot be recorded: AEDAT 3.1 holds times from 0 to {T_LIMIT_US} us")
    overflow = t >> 31
    cuts = np.flatnonzero(np.diff(overflow)) + 1  # the upper bits of t are in the packet's header
    for start, stop in zip([0, *cuts.tolist()], [*cuts.tolist(), len(events)], strict=True):
        for at in range(start, stop, EVENTS_A_PACKET):
            piece = events[at : min(at + EVENTS_A_PACKET, stop)]
            n = len(piece)
            words = np.empty((n, 2), "<u4")
            words[:, 0] = (
                piece["x"].astype(np.uint32) << 17 | piece["y"].astype(np.uint32) << 2 | piece["p"] * np.uint32(2) | 1
            )
            words[:, 1] = piece["t"] & 0x7FFFFFFF
            file.write(PACKET.pack(POLARITY, 1, EVENT_BYTES, 4, int(overflow[at]), n, n, n) + words.tobytes())
