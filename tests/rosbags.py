"""rosbags for tests, serialised by the `rosbags` package from the published message definitions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

HEADER = "std_msgs/Header header\nuint32 height\nuint32 width\n"
EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
ARRAY = HEADER + "Event[] events\n"
PACKET = HEADER + "uint64 seq\nuint64 time_base\nstring encoding\nbool is_bigendian\nuint8[] events\n"


def write_bag(
    path: Path,
    messages: list[np.ndarray | tuple[str, int, bytes]],
    *,
    package: str = "dvs_msgs",
    mcap: bool = False,
    size: tuple[int, int] = (346, 260),
) -> Path:
    """A bag of ROS 1 (path ends with .bag) or ROS 2 (a folder); returns the file to read.

    messages  of events [N], or (encoding, time_base, bytes) of event_camera_msgs
    """
    from rosbags.rosbag1 import Writer as Writer1
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer as Writer2
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    ros1 = path.suffix == ".bag"
    store = get_typestore(Stores.ROS1_NOETIC if ros1 else Stores.ROS2_HUMBLE)
    types: dict[str, Any] = {}
    if package == "event_camera_msgs":
        name = f"{package}/msg/EventPacket"
        types.update(get_types_from_msg(PACKET, name))
    else:
        name = f"{package}/msg/EventArray"
        event = EVENT if ros1 else EVENT.replace("time ts", "builtin_interfaces/Time ts")
        types.update(get_types_from_msg(event, f"{package}/msg/Event"))
        types.update(get_types_from_msg(ARRAY, name))
    store.register(types)
    time, header = store.types["builtin_interfaces/msg/Time"], store.types["std_msgs/msg/Header"]
    made, event_type = store.types[name], store.types.get(f"{package}/msg/Event")
    serialize = store.serialize_ros1 if ros1 else store.serialize_cdr
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    with Writer1(path) if ros1 else Writer2(path, version=9, storage_plugin=plugin) as bag:
        connection = bag.add_connection("/dvs/events", name, typestore=store)
        for number, message in enumerate(messages):
            stamp = time(sec=1, nanosec=number)
            head = header(seq=number, stamp=stamp, frame_id="dvs") if ros1 else header(stamp=stamp, frame_id="dvs")
            common = {"header": head, "height": size[1], "width": size[0]}
            if isinstance(message, tuple):
                encoding, base, data = message
                built = made(**common, seq=number, time_base=base, encoding=encoding, is_bigendian=False,
                             events=np.frombuffer(data, np.uint8))  # fmt: skip
            else:
                rows = [(int(t), int(x), int(y), bool(p)) for t, x, y, p in message.tolist()]
                events = [
                    event_type(x=x, y=y, ts=time(sec=t // 1_000_000, nanosec=t % 1_000_000 * 1000), polarity=p)
                    for t, x, y, p in rows
                ]
                built = made(**common, events=events)
            bag.write(connection, 1_000_000_000 + number, serialize(built, name))
    if ros1:
        return path
    return next(file for file in path.iterdir() if file.suffix in (".db3", ".mcap"))
