"""Decodes the events of one rosbag to standard output. Run as a program, in a process of its own (child.py has the records).

H  {"topics": [topic, ...], "size": [width, height]}: the topics with events; the first of them is read
P  events        V  bytes of EVT3 words
"""

from __future__ import annotations

import json
from pathlib import Path

from runtime.events.formats.child import PIECE, run_decoder, write_record
from runtime.events.formats.rosbag_messages import ARRAYS, PACKETS, read_array, read_packet

MAGIC = b"#ROSBAG V"


def decode(path: str) -> None:
    from rosbags import rosbag1, rosbag2

    with open(path, "rb") as file:
        ros = 1 if file.read(len(MAGIC)) == MAGIC else 2
    reader = rosbag1.Reader(Path(path)) if ros == 1 else rosbag2.Reader(Path(path))
    with reader:
        found = [c for c in reader.connections if c.msgtype in (*ARRAYS, *PACKETS)]
        topics = sorted({c.topic for c in found})
        if not found:
            others = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in reader.connections})[:6])
            raise ValueError(f"no topic with events ({', '.join((*ARRAYS, *PACKETS))}); it has {others or 'none'}")
        first = [c for c in found if c.topic == topics[0]]
        said = False
        for connection, _, data in reader.messages(first):
            message = (read_array if connection.msgtype in ARRAYS else read_packet)(bytes(data), ros)
            if not said:
                said = True
                write_record(b"H", json.dumps({"topics": topics, "size": message.size}).encode())
            for at in range(0, len(message.events), PIECE):
                write_record(b"P", message.events[at : at + PIECE].tobytes())
            for at in range(0, len(message.evt3), 2 * PIECE):
                write_record(b"V", message.evt3[at : at + 2 * PIECE])
        if not said:
            raise ValueError(f"no message on {topics[0]}")


if __name__ == "__main__":
    run_decoder(decode)
