"""The messages of ROS that hold events, from their bytes: serialised by ROS 1 (packed) or ROS 2 (CDR: each number at a
multiple of its own size).

    EventArray   header, height u4, width u4, events[]: x u2, y u2, time (secs u4, nsecs u4), polarity u1
    EventPacket  header, height u4, width u4, seq u8, time_base u8, encoding, is_bigendian u1, events u1[]
    header       (seq u4 in ROS 1,) time (secs u4, nsecs u4), frame_id

Sources: rpg_dvs_ros (dvs_msgs/EventArray), prophesee_ros_wrapper (prophesee_event_msgs/EventArray, the same fields),
ros-event-camera/event_camera_msgs (EventPacket; its README has the bits of `mono`).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from runtime.core.events.array import make_events, no_events

ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
ROS1_EVENT = np.dtype({"names": ["x", "y", "s", "ns", "p"], "formats": ["<u2", "<u2", "<u4", "<u4", "u1"],
                       "offsets": [0, 2, 4, 8, 12], "itemsize": 13})  # fmt: skip
# An event begins at an even place that is no multiple of four, but for the first of a message, which is read by itself.
CDR_EVENT = np.dtype({"names": ["x", "y", "s", "ns", "p"], "formats": ["<u2", "<u2", "<u4", "<u4", "u1"],
                      "offsets": [0, 2, 6, 10, 14], "itemsize": 16})  # fmt: skip
FIRST = struct.Struct("<HHIIB")
CDR_LITTLE = b"\x00\x01"


@dataclass
class Message:
    """What a message holds: events [N], or bytes of EVT3 words that go on from those of the message before."""

    size: tuple[int, int]
    events: np.ndarray
    evt3: bytes = b""


class Fields:
    """Reads the numbers of one message, one after the other."""

    def __init__(self, data: bytes, ros: int) -> None:
        if ros == 2 and data[:2] != CDR_LITTLE:
            raise ValueError(
                f"a message is encoded as {data[:2].hex()}; only CDR in little-endian order (0001) is read"
            )
        self.data, self.aligned = memoryview(data)[4 if ros == 2 else 0 :], ros == 2
        self.at = 0

    def number(self, size: int) -> int:
        if self.aligned:
            self.at += -self.at % size
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> memoryview:
        taken = self.data[self.at : self.at + size]
        if len(taken) < size:
            raise ValueError(f"a message of {len(self.data)} bytes should have {size} more at byte {self.at}")
        self.at += size
        return taken

    def text(self) -> str:
        return bytes(self.take(self.number(4))).rstrip(b"\0").decode("utf-8", "replace")

    def header(self) -> None:
        for _ in range(2 if self.aligned else 3):
            self.number(4)
        self.text()

    def size(self) -> tuple[int, int]:
        height, width = self.number(4), self.number(4)
        return width, height


def read_array(data: bytes, ros: int) -> Message:
    """An EventArray. ValueError where its bytes are another message's."""
    fields = Fields(data, ros)
    fields.header()
    size, count = fields.size(), fields.number(4)
    if ros == 1:
        return Message(size, _events(np.frombuffer(fields.take(13 * count), ROS1_EVENT)))
    if not count:
        return Message(size, no_events())
    if fields.at % 4:  # a count is at a multiple of four, and so is what follows it
        raise ValueError("the events of a message do not begin where they should")
    x, y, s, ns, p = FIRST.unpack(fields.take(FIRST.size))
    fields.at += fields.at % 2
    stored = bytes(fields.take(16 * (count - 1) - 1)) + b"\0" if count > 1 else b""  # nothing is behind the last one
    first = make_events([s * 1_000_000 + ns // 1000], [x], [y], [p != 0])
    return Message(size, np.concatenate([first, _events(np.frombuffer(stored, CDR_EVENT))]))


def _events(stored: np.ndarray) -> np.ndarray:
    t_us = stored["s"].astype(np.int64) * 1_000_000 + stored["ns"] // 1000
    return make_events(t_us, stored["x"], stored["y"], stored["p"] != 0)


def read_packet(data: bytes, ros: int) -> Message:
    """An EventPacket of encoding evt3 or mono. ValueError for another."""
    fields = Fields(data, ros)
    fields.header()
    size = fields.size()
    fields.number(8)
    base_ns, encoding, swapped = fields.number(8), fields.text(), fields.number(1)
    stored = fields.take(fields.number(4))
    if swapped:
        raise ValueError("a packet in big-endian order")
    if encoding == "evt3":
        return Message(size, no_events(), bytes(stored[: len(stored) // 2 * 2]))
    if encoding != "mono":
        raise ValueError(f"packets of encoding {encoding!r}; only evt3 and mono are read")
    # bits 0-31 dt in ns, 32-47 x, 48-62 y, 63 p
    words = np.frombuffer(stored[: len(stored) // 8 * 8], "<u4").reshape(-1, 2)
    dt, xy = words[:, 0], words[:, 1]
    t_us = (base_ns % (1 << 63) + dt.astype(np.int64)) // 1000
    return Message(size, make_events(t_us, xy & 0xFFFF, (xy >> 16) & 0x7FFF, (xy >> 31) != 0))
