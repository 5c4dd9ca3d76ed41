"""rosbags that have no end, unpack to more than there is, or lead to another file: one line, by the measure of the file."""

from __future__ import annotations

import bz2
import fcntl
import json
import os
import re
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Callable
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import read_events
from runtime.formats.child import children
from runtime.formats.child.children import Child
from tests.recordings import some_events
from tests.rosbags import write_bag

pytest.importorskip("rosbags")
pytestmark = pytest.mark.usefixtures("warm_child")
EVENTS = some_events(300, width=300, height=200)
MANY = 700 << 20  # bytes that a bomb unpacks to
LITTLE_MB = 450  # what reading a bomb may take, with Python and its libraries
READ = """
import json, resource, sys
from runtime.formats.child import children
from runtime.formats.child.children import Child
from runtime.core.base.errors import PlifError
from runtime.core.events import read_events
children.FREE_SECONDS = int(sys.argv[2])
try:
    said = len(read_events(sys.argv[1]))
except PlifError as error:
    said = str(error)
print(json.dumps([said, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss >> 10]))
"""


def refused(bag: Path, free_seconds: int = 20) -> str:
    """The line that refuses a bag, got in little memory."""
    done = subprocess.run([sys.executable, "-c", READ, str(bag), str(free_seconds)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, peak_mb = json.loads(done.stdout)
    assert isinstance(said, str) and said.startswith(str(bag)) and len(said) < 900, said
    assert peak_mb < LITTLE_MB, f"{peak_mb} MB"
    return said


def edit(bag: Path, *statements: str) -> None:
    """Changes a SQLite file, and what it says of its tables, too."""
    with closing(sqlite3.connect(bag)) as file:
        file.execute("PRAGMA writable_schema = ON")
        for statement in statements:
            file.execute(statement)
        file.commit()


# --- SQLite -------------------------------------------------------------------------------------------------------

COLUMNS = "id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB"
ENDLESS = """CREATE VIEW message_definitions AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n)
 SELECT id, '' AS topic_type, '' AS encoding, '' AS encoded_message_definition, '' AS type_description_hash FROM n"""
VIRTUAL = "'table', 'messages', 'messages', 0, 'CREATE VIRTUAL TABLE messages USING fts5(data)'"
TABLES: dict[str, tuple[str, ...]] = {
    "a view": ("DROP TABLE message_definitions", ENDLESS),
    "a virtual table": ("DROP TABLE messages", f"INSERT INTO sqlite_master VALUES ({VIRTUAL})"),
    "a computed column": ("DROP TABLE messages", f"CREATE TABLE messages({COLUMNS} AS (zeroblob(900000000)))"),
    "a trigger": ("CREATE TRIGGER messages AFTER INSERT ON topics BEGIN DELETE FROM messages; END",),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_bag_with_anything_but_tables_of_rows_is_refused(name: str, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [EVENTS])
    edit(bag, *TABLES[name])
    assert re.search("(messages|message_definitions) is neither a table of rows nor an index", refused(bag))


def page_of(bag: Path, table: str) -> tuple[int, int]:
    """(bytes of a page, number of the page that a table begins with)"""
    with closing(sqlite3.connect(bag)) as file:
        (size,), (page,) = (
            file.execute("PRAGMA page_size").fetchone(),
            file.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone(),
        )
    return size, page


def test_a_bag_without_an_index_is_sorted_in_memory(tmp_path: Path) -> None:
    """More than SQLite's cache holds, which it would sort in a file: the process that reads writes none."""
    bag = write_bag(tmp_path / "bag", [EVENTS[i : i + 20] for i in range(0, 300, 20)])
    again = "INSERT INTO messages(topic_id, timestamp, data) SELECT topic_id, timestamp + id, data FROM messages"
    edit(bag, "DROP INDEX timestamp_idx", *[again] * 10, "UPDATE messages SET timestamp = -timestamp")
    assert bag.stat().st_size > 5 << 20
    found = read_events(bag)
    assert len(found) == 300 << 10 and found["t"][0] > EVENTS["t"][200] > EVENTS["t"][100] > found["t"][-1]


def test_a_table_whose_pages_lead_to_the_same_pages_is_refused_after_a_while(tmp_path: Path) -> None:
    """Nine levels of pages, each of which is named by all places of the level above it: 60^9 rows, or more, in 50 kB."""
    bag = write_bag(tmp_path / "bag", [EVENTS])
    size, root = page_of(bag, "messages")
    data, levels, places = bytearray(bag.read_bytes()), 9, 300
    leaf = bytes(data[(root - 1) * size : root * size])
    first = len(data) // size + 1  # the number of the first page that is added
    for level in range(levels):
        below = first + level
        cells = b"".join(struct.pack(">I", below) + bytes([0]) for _ in range(places))
        at = size - len(cells)
        pointers = b"".join(struct.pack(">H", at + 5 * i) for i in range(places))
        page = b"\x05" + struct.pack(">HHHB", 0, places, at, 0) + struct.pack(">I", below) + pointers
        page += bytes(size - len(page) - len(cells)) + cells
        if level == 0:
            data += leaf
        if level == levels - 1:
            data[(root - 1) * size : root * size] = page
        else:
            data += page
    data[28:32] = struct.pack(">I", len(data) // size)
    bag.write_bytes(data)
    assert "too much for a file of its size" in refused(bag, free_seconds=1)


def test_a_message_whose_pages_lead_to_themselves_takes_no_memory(tmp_path: Path) -> None:
    """A page of what does not fit its row says which page comes next: itself, until a claimed gigabyte is full."""
    bag = write_bag(tmp_path / "bag", [EVENTS])
    size, root = page_of(bag, "messages")
    data = bytearray(bag.read_bytes())
    length, more = 900 << 20, len(data) // size + 1

    def varint(value: int) -> bytes:
        groups = [value & 0x7F]
        while value := value >> 7:
            groups.append(value & 0x7F | 0x80)
        return bytes(reversed(groups))

    kind = varint(12 + 2 * length)
    body = bytes([4 + len(kind), 0, 1, 1]) + kind + b"\x01\x01"  # id, topic and time in one byte each, and a blob
    whole = len(body) + length
    local = (size - 12) * 32 // 255 - 23
    local += (whole - local) % (size - 4) if (whole - local) % (size - 4) + local <= size - 35 else 0
    cell = varint(whole) + b"\x01" + (body + bytes(local))[:local] + struct.pack(">I", more)
    at = size - len(cell)
    page = b"\x0d" + struct.pack(">HHHBH", 0, 1, at, 0, at)
    data[(root - 1) * size : root * size] = page + bytes(at - len(page)) + cell
    data += struct.pack(">I", more) + bytes(size - 4)
    data[28:32] = struct.pack(">I", len(data) // size)
    bag.write_bytes(data)
    assert "of memory" in refused(bag)


BOMB = "a: &a {x: 1}\n"
for before, name in pairwise("abcdefghi"):
    BOMB += f"{name}: &{name}\n  <<: [{', '.join([f'*{before}'] * 30)}]\n"


def test_settings_of_a_topic_that_grow_without_an_end_are_refused(tmp_path: Path) -> None:
    """What rosbag2 keeps beside a topic is YAML, in which a few lines may stand for 30^8."""
    bag = write_bag(tmp_path / "bag", [EVENTS])
    with closing(sqlite3.connect(bag)) as file:
        file.execute("UPDATE topics SET offered_qos_profiles = ?", (BOMB,))
        file.commit()
    assert "too much for a file of its size" in refused(bag, free_seconds=1)


# --- packed chunks ------------------------------------------------------------------------------------------------

TOO_MUCH = "MiB of memory, too much for a file of its size"


def mcap(path: Path, packing: str, unpacked: int, chunk: bytes) -> Path:
    """An MCAP file of one topic and one chunk, which its index says to be full of messages."""

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode()

    def record(kind: int, body: bytes) -> bytes:
        return bytes([kind]) + struct.pack("<Q", len(body)) + body

    sizes = struct.pack("<QQ", len(chunk), unpacked)
    magic = b"\x89MCAP0\r\n"
    head = magic + record(1, text("ros2") + text(""))
    body = record(6, struct.pack("<QQQI", 0, 9, unpacked, 0) + text(packing) + sizes[:8] + chunk) + record(15, bytes(4))
    place = struct.pack("<QQQQ", 0, 9, len(head), len(body) - 13)
    summary = record(3, struct.pack("<H", 1) + text("event_camera_msgs/msg/EventPacket") + text("ros2msg") + text(""))
    summary += record(4, struct.pack("<HH", 1, 1) + text("/events") + text("cdr") + bytes(4))
    summary += record(8, place + struct.pack("<IHQQ", 10, 1, 0, 1) + text(packing) + sizes)
    end = record(2, struct.pack("<QQI", len(head) + len(body), 0, 0))
    path.write_bytes(head + body + summary + end + magic)
    return path


def zstd(data: bytes) -> bytes:
    from rosbags.rosbag2.storage_mcap import zstd

    return zstd.compress(data)


def lz4(data: bytes) -> bytes:
    import lz4.frame

    return lz4.frame.compress(data)


@pytest.mark.parametrize("pack", [zstd, lz4])
def test_a_chunk_of_mcap_that_unpacks_to_a_thousand_times_its_bytes_is_refused(
    pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    chunk = pack(bytes(MANY))
    assert TOO_MUCH in refused(mcap(tmp_path / "a.mcap", pack.__name__, MANY, chunk))


def test_messages_that_are_larger_in_memory_than_in_a_chunk_take_no_more(tmp_path: Path) -> None:
    """Each becomes an object of Python, and all those of a chunk are put in order."""
    message = b"\x05" + struct.pack("<QHIQQ", 22, 1, 0, 1, 1)
    bag = mcap(tmp_path / "a.mcap", "zstd", 5_000_000 * len(message), zstd(message * 5_000_000))
    assert TOO_MUCH in refused(bag)


def ros1(path: Path, packing: str = "none", chunk: bytes | None = None, claimed: int | None = None) -> Path:
    """A bag of ROS 1 with another chunk than was written, or one that claims another length."""
    data = write_bag(path, [EVENTS]).read_bytes()
    begin = (
        len(b"#ROSBAG V2.0\n") + 4 + 0x45 + 4 + 0xFB3
    )  # behind the header of the bag, which is filled up with blanks
    at = begin + 4 + int.from_bytes(data[begin : begin + 4], "little")
    end = at + 4 + int.from_bytes(data[at : at + 4], "little")
    chunk = data[at + 4 : end] if chunk is None else chunk
    fields = (b"op=\x05", b"compression=" + packing.encode(), b"size=" + struct.pack("<I", MANY))
    head = b"".join(struct.pack("<I", len(field)) + field for field in fields)
    record = struct.pack("<I", len(head)) + head + struct.pack("<I", claimed or len(chunk)) + chunk
    place = data.index(b"index_pos=") + 10
    moved = int.from_bytes(data[place : place + 8], "little") + len(record) - (end - begin)
    path.write_bytes(data[:place] + struct.pack("<Q", moved) + data[place + 8 : begin] + record + data[end:])
    return path


def bz2s(data: bytes) -> bytes:
    return bz2.compress(data[: len(data) // 70]) * 70


@pytest.mark.parametrize(("packing", "pack"), [("bz2", bz2s), ("lz4", lz4)])
def test_a_chunk_of_ros_1_that_unpacks_to_a_thousand_times_its_bytes_is_refused(
    packing: str, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    assert len(read_events(ros1(tmp_path / "honest.bag"))) == len(EVENTS)
    assert TOO_MUCH in refused(ros1(tmp_path / "a.bag", packing, pack(bytes(MANY))))


@pytest.mark.parametrize("claimed", [1, 100, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_chunk_of_ros_1_that_lies_about_its_length_is_refused(claimed: int, tmp_path: Path) -> None:
    refused(ros1(tmp_path / "a.bag", claimed=claimed))


@pytest.mark.parametrize("field", [b"conn_count=", b"chunk_count=", b"index_pos="])
def test_a_bag_of_ros_1_that_claims_more_than_it_holds_is_refused(field: bytes, tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "a.bag", [EVENTS])
    data = bytearray(bag.read_bytes())
    at = data.index(field) + len(field)
    data[at : at + 4] = b"\xff\xff\xff\x7f"
    bag.write_bytes(data)
    refused(bag)


# --- other files --------------------------------------------------------------------------------------------------

NAMES = ["..%2Fsecret", "run #3", "a?mode=memory", "50% &c", "a%00b", "%41", "é ü", "file:a", "a\nb"]


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("suffix", "name"), [*((".db3", name) for name in NAMES), (".mcap", NAMES[0]), (".bag", NAMES[0])]
)
def test_a_bag_of_any_name_is_read_itself(suffix: str, name: str, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    end = ".bag" if suffix == ".bag" else ""
    made = write_bag(tmp_path / f"made{end}", [EVENTS], mcap=suffix == ".mcap")
    secret = write_bag(tmp_path / f"other{end}", [EVENTS[:7]], mcap=suffix == ".mcap").read_bytes()
    for place in (tmp_path, folder):
        for other in ("secret", "a", "run ", "50", "A", "file"):
            (place / other).write_bytes(secret)
            (place / f"{other}{suffix}").write_bytes(secret)
    bag = made.rename(folder / f"{name}{suffix}")
    assert read_events(bag).tolist() == EVENTS.tolist()


def test_what_lies_beside_a_bag_is_not_read(tmp_path: Path) -> None:
    """metadata.yaml, which names other files, and what SQLite would go on with: pipes, which would keep a reader for ever."""
    bag = write_bag(tmp_path / "bag", [EVENTS])
    (bag.parent / "metadata.yaml").unlink()
    for name in ("metadata.yaml", f"{bag.name}-wal", f"{bag.name}-journal", f"{bag.name}-shm"):
        os.mkfifo(bag.with_name(name))
    assert read_events(bag).tolist() == EVENTS.tolist()


def test_a_bag_of_which_no_event_can_be_read_is_refused(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [("evt3", 0, b""), ("other", 0, b"")], package="event_camera_msgs")
    with pytest.raises(PlifError, match="no event of it can be read: packets of encoding 'other'"):
        read_events(bag)


# --- the process that reads ---------------------------------------------------------------------------------------


def child(folder: Path, code: str) -> Child:
    script = folder / "script.py"
    script.write_text(code)
    return Child(script, size=0)


def test_a_child_that_says_nothing_is_not_waited_for_without_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children, "FREE_SECONDS", 1)
    monkeypatch.setattr(children, "WAITS", 1)
    with child(tmp_path, "import time; time.sleep(10_000)") as silent:
        assert silent.read(1) == b""
        assert silent.end()[1] == "reading it has not come to an end after 1 s"


def test_the_time_for_which_a_child_waits_for_us_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks at a recording may stop to think."""
    monkeypatch.setattr(children, "SLICE_S", 0.001)
    with child(tmp_path, "import sys; sys.stdout.buffer.write(bytes(1 << 20))") as ahead:
        waiting = array("i", [0])
        while waiting[0] < 60_000:
            fcntl.ioctl(ahead._pipe, termios.FIONREAD, waiting)
            time.sleep(0.01)
        left_s = ahead._remaining_s
        time.sleep(0.3)
        assert len(ahead.read(60_000)) == 60_000
        assert left_s - ahead._remaining_s <= 2 * children.SLICE_S
        assert len(ahead.read(1 << 21)) == (1 << 20) - 60_000 and ahead.end() == (0, None)
