"""Decodes the events of one rosbag to standard output. Run as a program, in a process of its own (child.py has the records).

H  {"topics": how many have events, "first": [topic, ...], "size": [width, height]}: some of them; the first is read
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
MOST_NAMES, MOST_NAME = 6, 200  # topics that are named, characters of a name


class Place(PosixPath):
    """A path that is quoted in f"file:{path}?immutable=1": `rosbags` makes the name of a SQLite file so, and a name may hold
    %2F, ? or #."""

    def __format__(self, spec: str) -> str:
        return quote(os.fsencode(os.path.realpath(self)))


class SortsInMemory(sqlite3.Connection):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        sort_in_memory(self)


def sort_in_memory(connection: Any) -> None:
    """SQLite sorts in a file what its cache does not hold; this process may write none, and its memory has a limit."""
    connection.execute("PRAGMA temp_store = MEMORY")


def check_tables(path: Place) -> None:
    """ValueError where a SQLite file holds more than rows: a view or a computed column has no measure, a trigger no use."""
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as bag:
        for name, sql in bag.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"):
            made_by = str(sql)  # what SQLite goes by, whatever the type beside it says
            if not re.match("CREATE (TABLE|INDEX|UNIQUE INDEX) ", made_by) or re.search(r"\bAS\b", made_by, re.I):
                raise ValueError(
                    f"{str(name)[:MOST_NAME]} is neither a table of rows nor an index, as rosbag2 writes them"
                )


def decode(path: str) -> None:
    from rosbags import rosbag1, rosbag2

    sqlite3.connect = partial(sqlite3.connect, factory=SortsInMemory)  # type: ignore[assignment]
    with suppress(ImportError):  # rosbags opens with apsw since 0.11.1
        import apsw

        apsw.connection_hooks.append(sort_in_memory)
    with open(path, "rb") as file:
        ros = 1 if file.read(len(MAGIC)) == MAGIC else 2
    place = Place(path)
    if place.suffix == ".db3" and ros == 2:
        check_tables(place)
    reader = rosbag1.Reader(place) if ros == 1 else rosbag2.Reader(place)
    with reader:
        found = [c for c in reader.connections if c.msgtype in (*ARRAYS, *PACKETS)]
        topics = sorted({c.topic for c in found})
        if not found:
            others = ", ".join(sorted({f"{c.topic} ({c.msgtype})" for c in reader.connections})[:MOST_NAMES])
            raise ValueError(f"no topic with events ({', '.join((*ARRAYS, *PACKETS))}); it has {others or 'none'}")
        first = [c for c in found if c.topic == topics[0]]
        about = {"topics": len(topics), "first": [topic[:MOST_NAME] for topic in topics[:MOST_NAMES]]}
        said = False
        for connection, _, data in reader.messages(first):
            message = (read_array if connection.msgtype in ARRAYS else read_packet)(bytes(data), ros)
            if not said:
                said = True
                write_record(b"H", json.dumps(about | {"size": message.size}).encode())
            for at in range(0, len(message.events), PIECE):
                write_record(b"P", message.events[at : at + PIECE].tobytes())
            for at in range(0, len(message.evt3), 2 * PIECE):
                write_record(b"V", message.evt3[at : at + 2 * PIECE])
        if not said:
            raise ValueError(f"no message on {topics[0][:MOST_NAME]}")


if __name__ == "__main__":
    run_decoder(decode)
