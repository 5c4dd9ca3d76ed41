"""Recordings in rosbags: what they hold comes back, damage ends in events or one line."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.events import open_source, read_events
from runtime.formats import rosbag
from tests.fuzz.recordings import read
from tests.lies import NO_JSON, check_lie
from tests.recordings import EVT3_HEADER, evt3_bytes, some_events
from tests.rosbags import write_bag

pytest.importorskip("rosbags")
pytestmark = pytest.mark.usefixtures("warm_child")
EVENTS = some_events(3000, width=300, height=200)
BAGS = [("a.bag", False), ("sqlite", False), ("mcap", True)]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("package", ["dvs_msgs", "prophesee_event_msgs"])
@pytest.mark.parametrize(("name", "mcap"), BAGS)
def test_a_bag_of_event_arrays_is_read(name: str, mcap: bool, package: str, tmp_path: Path) -> None:
    parts = [EVENTS[:1], EVENTS[1:3], EVENTS[3:3], EVENTS[3:1000], EVENTS[1000:]]
    bag = write_bag(tmp_path / name, parts, mcap=mcap, package=package)
    source = open_source(str(bag))
    assert (source.format, source.sensor, source.sensor_from) == ("rosbag", (346, 260), "recording")
    assert np.concatenate(list(source.packets(100))).tolist() == EVENTS.tolist() and source.notes == []


@pytest.mark.parametrize(("name", "mcap"), BAGS)
def test_a_bag_of_event_packets_is_read(name: str, mcap: bool, tmp_path: Path) -> None:
    words = evt3_bytes(EVENTS)[len(EVT3_HEADER) :]
    bag = write_bag(
        tmp_path / name,
        [("evt3", 0, words[:1000]), ("evt3", 0, words[1000:])],  # what a word sets is kept from packet to packet
        package="event_camera_msgs", mcap=mcap,
    )  # fmt: skip
    assert read_events(bag).tolist() == EVENTS.tolist()


def test_a_bag_of_mono_packets_is_read(tmp_path: Path) -> None:
    e = EVENTS.astype([("t", "u8"), ("x", "u8"), ("y", "u8"), ("p", "u8")])
    data = (e["p"] << 63 | e["y"] << 48 | e["x"] << 32 | e["t"] * 1000).astype("<u8").tobytes()
    bag = write_bag(tmp_path / "bag", [("mono", 5_000_000_000, data)], package="event_camera_msgs")
    assert (read_events(bag)["t"] - EVENTS["t"]).tolist() == [5_000_000] * len(EVENTS)


def test_a_bag_with_an_encoding_that_is_not_read_names_it(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / "bag", [("libcaer_cmp", 0, b"1234")], package="event_camera_msgs")
    with pytest.raises(PlifError, match="'libcaer_cmp'; only evt3 and mono"):
        read_events(bag)


def test_the_folder_of_a_bag_says_which_file_to_name(tmp_path: Path) -> None:
    write_bag(tmp_path / "bag", [EVENTS])
    with pytest.raises(PlifError, match=r"the \.db3 or \.mcap of a rosbag"):
        open_source(str(tmp_path / "bag"))


@pytest.mark.parametrize(("name", "mcap"), BAGS)
def test_a_bag_cut_anywhere_gives_its_first_events_or_one_line(name: str, mcap: bool, tmp_path: Path) -> None:
    parts = np.array_split(EVENTS, 40)
    bag = write_bag(tmp_path / name, parts, mcap=mcap)
    data = bag.read_bytes()
    for size in (20, len(data) // 2, len(data) - 1):
        bag.write_bytes(data[:size])
        found = read(bag)
        if isinstance(found, str):
            assert str(bag) in found and found.isprintable()
        else:
            assert found[1].tolist() == EVENTS[: len(found[1])].tolist() and all(
                note.isprintable() for note in found[3]
            )


def test_a_missing_library_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bag"
    path.write_bytes(b"#ROSBAG V2.0\n" + bytes(99))
    monkeypatch.setitem(sys.modules, "rosbags", None)
    with pytest.raises(MissingExtra, match=r"plif\[rosbag\]"):
        open_source(str(path))


TOPICS = tuple(
    json.dumps({"topics": 2, "first": ["a"], "size": [8, 8]} | wrong)
    for wrong in ({"topics": "x"}, {"topics": 1e999}, {"first": []}, {"first": 5}, {"size": 5}, {"size": [1, -1]})
)


@pytest.mark.parametrize("said", [*NO_JSON, "{}", *TOPICS], ids=lambda value: value[:30])
def test_a_header_that_is_none_is_one_line(said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_lie(rosbag, b"#ROSBAG V2.0", said, tmp_path, monkeypatch)
