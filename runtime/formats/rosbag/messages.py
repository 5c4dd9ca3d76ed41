"""The ROS messages that hold events, decoded from their bytes as ROS 1 (packed) or ROS 2 (CDR) serialises them.

In CDR each number lies at a multiple of its size.

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

from runtime.core.events.array import empty_events, make_events

ARRAYS = ("dvs_msgs/msg/EventArray", "prophesee_event_msgs/msg/EventArray")
PACKETS = ("event_camera_msgs/msg/EventPacket", "event_array_msgs/msg/EventArray")
ROS1_EVENT = np.dtype({"names": ["x", "y", "s", "ns", "p"], "formats": ["<u2", "<u2", "<u4", "<u4", "u1"],
                       "offsets": [0, 2, 4, 8, 12], "itemsize": 13})  # fmt: skip
# An event begins at 2 modulo 4 bytes. Only the first of a message does not, so it is read separately.
CDR_EVENT = np.dtype({"names": ["x", "y", "s", "ns", "p"], "formats": ["<u2", "<u2", "<u4", "<u4", "u1"],
                      "offsets": [0, 2, 6, 10, 14], "itemsize": 16})  # fmt: skip
FIRST = struct.Struct("<HHIIB")
CDR_LITTLE = b"\x00\x01"


@dataclass
class Message:
    """The content of one ROS message: events [N], or EVT3 bytes that continue those of the message before."""

    size: tuple[int, int]
    events: np.ndarray
    evt3: bytes = b""


class MessageReader:
    """A reader of the fields of one serialised ROS message, in their order."""

    def __init__(self, data: bytes, ros: int) -> None:
        if ros == 2 and data[:2] != CDR_LITTLE:
            raise ValueError(
                f"a message is encoded as {data[:2].hex()}; only CDR in little-endian order (0001) is read"
            )
        self.data, self.aligned = memoryview(data)[4 if ros == 2 else 0 :], ros == 2
        self.offset = 0

    def read_uint(self, size: int) -> int:
        if self.aligned:
            self.offset += -self.offset % size
        return int.from_bytes(self.read_bytes(size), "little")

    def read_bytes(self, size: int) -> memoryview:
        data = self.data[self.offset : self.offset + size]
        if len(data) < size:
            raise ValueError(f"a message of {len(self.data)} bytes should have {size} more at byte {self.offset}")
        self.offset += size
        return data

    def read_text(self) -> str:
        return bytes(self.read_bytes(self.read_uint(4))).rstrip(b"\0").decode("utf-8", "replace")

    def skip_header(self) -> None:
        for _ in range(2 if self.aligned else 3):
            self.read_uint(4)
        self.read_text()

    def read_size(self) -> tuple[int, int]:
        height, width = self.read_uint(4), self.read_uint(4)
        return width, height


def read_array(data: bytes, ros: int) -> Message:
    """Read a ROS message of the type EventArray. Raises ValueError for the bytes of another type."""
    reader = MessageReader(data, ros)
    reader.skip_header()
    size, count = reader.read_size(), reader.read_uint(4)
    if ros == 1:
        return Message(size, _decode_events(np.frombuffer(reader.read_bytes(13 * count), ROS1_EVENT)))
    if not count:
        return Message(size, empty_events())
    if reader.offset % 4:  # the count lies at a multiple of four, so the events do, too
        raise ValueError("the events of a message do not begin where they should")
    x, y, s, ns, p = FIRST.unpack(reader.read_bytes(FIRST.size))
    reader.offset += reader.offset % 2
    stored = (
        bytes(reader.read_bytes(16 * (count - 1) - 1)) + b"\0" if count > 1 else b""
    )  # no padding follows the last event
    first = make_events([s * 1_000_000 + ns // 1000], [x], [y], [p != 0])
    return Message(size, np.concatenate([first, _decode_events(np.frombuffer(stored, CDR_EVENT))]))


def _decode_events(stored: np.ndarray) -> np.ndarray:
    t_us = stored["s"].astype(np.int64) * 1_000_000 + stored["ns"] // 1000
    return make_events(t_us, stored["x"], stored["y"], stored["p"] != 0)


def read_packet(data: bytes, ros: int) -> Message:
    """Read a ROS message of the type EventPacket, encoding evt3 or mono. Raises ValueError for another encoding."""
    reader = MessageReader(data, ros)
    reader.skip_header()
    size = reader.read_size()
    reader.read_uint(8)
    base_ns, encoding, swapped = reader.read_uint(8), reader.read_text(), reader.read_uint(1)
    stored = reader.read_bytes(reader.read_uint(4))
    if swapped:
        raise ValueError("a packet in big-endian order")
    if encoding == "evt3":
        return Message(size, empty_events(), bytes(stored[: len(stored) // 2 * 2]))
    if encoding != "mono":
        raise ValueError(f"packets of encoding {encoding!r}; only evt3 and mono are read")
    # bits 0-31 dt in ns, 32-47 x, 48-62 y, 63 p
    words = np.frombuffer(stored[: len(stored) // 8 * 8], "<u4").reshape(-1, 2)
    dt, xy = words[:, 0], words[:, 1]
    t_us = (base_ns % (1 << 63) + dt.astype(np.int64)) // 1000
    return Message(size, make_events(t_us, xy & 0xFFFF, (xy >> 16) & 0x7FFF, (xy >> 31) != 0))
