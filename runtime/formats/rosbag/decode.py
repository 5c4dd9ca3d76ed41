"""A program that decodes the events of one rosbag to standard output, run as a child process (runtime/formats/child).

H  {"topics": how many have events, "first": [topic, ...], "size": [width, height]}: some topics; the first is read
P  events        V  bytes of EVT3 words
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing, suppress
from functools import partial
from pathlib import PosixPath
from typing import Any
from urllib.parse import quote

from runtime.formats.child.records import PIECE, run_decoder, write_record
from runtime.formats.rosbag.messages import ARRAYS, PACKETS, read_array, read_packet

MAGIC = b"#ROSBAG V"
MOST_NAMES, MOST_NAME = 6, 200  # limits of a message: topics, characters of a name


class UriPath(PosixPath):
    """A path that is quoted when it is formatted into the URI of a SQLite file, so that special characters are safe.

    `rosbags` builds f"file:{path}?immutable=1", and a file name may hold %2F, ? or #.
    """

    def __format__(self, spec: str) -> str:
        return quote(os.fsencode(os.path.realpath(self)))


class MemoryConnection(sqlite3.Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        sort_in_memory(self)


def sort_in_memory(connection: Any) -> None:
    """Make a SQLite connection sort in memory instead of in a temporary file.

    This process may write no file, and its memory has a limit.
    """
    connection.execute("PRAGMA temp_store = MEMORY")


def check_tables(path: UriPath) -> None:
    """Refuse a SQLite file of a ROS bag that holds anything but plain tables and indexes. Raises ValueError.

    A view or a computed column has no limit of size, and a trigger has no use.
    """
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as bag:
        for name, sql in bag.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
            statement = str(sql)  # SQLite uses this text, not the type column
            if not re.match("CREATE (TABLE|INDEX|UNIQUE INDEX) ", statement) or re.search(r"\bAS\b", statement, re.I):
                raise ValueError(
                    f"{str(name)[:MOST_NAME]} is neither a table of rows nor an index, as rosbag2 writes them"
                )


def decode(path: str) -> None:
    from rosbags import rosbag1, rosbag2

    sqlite3.connect = partial(sqlite3.connect, factory=MemoryConnection)  # type: ignore[assignment]
    with suppress(ImportError):  # rosbags opens with apsw since 0.11.1
        import apsw

        apsw.connection_hooks.append(sort_in_memory)
    with open(path, "rb") as file:
        ros = 1 if file.read(len(MAGIC)) == MAGIC else 2
    uri_path = UriPath(path)
    if uri_path.suffix == ".db3" and ros == 2:
        check_tables(uri_path)
    reader = rosbag1.Reader(uri_path) if ros == 1 else rosbag2.Reader(uri_path)
    with reader:
        event_connections = [c for c in reader.connections if c.msgtype in (*ARRAYS, *PACKETS)]
        topics = sorted({c.topic for c in event_connections})
        if not event_connections:
            topic_list = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in reader.connections})[:MOST_NAMES])
            raise ValueError(f"no topic with events ({', '.join((*ARRAYS, *PACKETS))}); it has {topic_list or 'none'}")
        first = [c for c in event_connections if c.topic == topics[0]]
        about = {"topics": len(topics), "first": [topic[:MOST_NAME] for topic in topics[:MOST_NAMES]]}
        header_written = False
        for connection, _, data in reader.messages(first):
            message = (read_array if connection.msgtype in ARRAYS else read_packet)(bytes(data), ros)
            if not header_written:
                header_written = True
                write_record(b"H", json.dumps(about | {"size": message.size}).encode())
            for start in range(0, len(message.events), PIECE):
                write_record(b"P", message.events[start : start + PIECE].tobytes())
            for start in range(0, len(message.evt3), 2 * PIECE):
                write_record(b"V", message.evt3[start : start + 2 * PIECE])
        if not header_written:
            raise ValueError(f"no message on {topics[0][:MOST_NAME]}")


if __name__ == "__main__":
    run_decoder(decode)
