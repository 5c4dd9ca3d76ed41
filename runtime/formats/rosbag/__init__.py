"""rosbag of ROS 1 (.bag) and ROS 2 (.db3, .mcap), read through the `rosbags` package (Apache-2.0), if installed.

The first topic with events is read: dvs_msgs/EventArray and prophesee_event_msgs/EventArray (messages.py), and
event_camera_msgs/EventPacket with EVT3 or mono in it. Times are those of the events. Where the bag has no absolute time
(EVT3), they are the camera's. The package runs in a child process (decode.py).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.events.formats.base import Format, Losses, Recording
from runtime.core.events.formats.words import Decoder, Words
from runtime.formats.child.records import read_decoded_events, read_header_record, refuse_malformed

MAGICS = {b"#ROSBAG V": ".bag", b"SQLite format 3\0": ".db3", b"\x89MCAP0\r\n": ".mcap"}
CHILD = Path(__file__).with_name("decode.py")


def open_recording(path: Path) -> Recording:
    with open(path, "rb") as file:
        head = file.read(16)
    suffix = next(suffix for magic, suffix in MAGICS.items() if head.startswith(magic))
    if importlib.util.find_spec("rosbags") is None:
        raise MissingExtra(f"{path}: a rosbag", "rosbag")
    if suffix != ".bag" and path.suffix != suffix:  # the package chooses its reader by the suffix
        raise PlifError(f"{path}: a rosbag of ROS 2 whose name does not end with {suffix}: rename it")
    with refuse_malformed(path):
        about = json.loads(read_header_record(CHILD, path, "this rosbag"))
        (width, height), count, first = about["size"], int(about["topics"]), list(map(str, about["first"]))
        topics = count, first, first[0]
    return Recording("rosbag", lambda losses: _decode(path, topics, losses), sensor=(width, height))


def _decode(path: Path, topics: tuple[int, list[str], str], losses: Losses) -> Iterator[np.ndarray]:
    count, names, first = topics
    if count > 1:
        losses.note(f"{path}: has events on {count} topics, such as {names}: {first} is read")
    decoder = Decoder(Words.EVT3)
    yield from read_decoded_events(
        CHILD, path, losses, {b"V": lambda payload: decoder.feed(np.frombuffer(payload, np.uint8), losses)}
    )


def refusal(head: bytes, path: Path) -> str | None:
    """Return the reason why a folder that holds a ROS 2 bag is refused; None for other paths."""
    bag = path.is_dir() and (path / "metadata.yaml").is_file()
    return "a folder, not a recording: name one file in it, the .db3 or .mcap of a rosbag" if bag else None


FORMAT = Format(open_recording, refusal=refusal)
