"""Recordings in HDF5 and in rosbags: what they hold comes back, damage ends in events or one line."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from runtime.base.errors import MissingExtra, PlifError
from runtime.events import open_source, read_events
from runtime.formats import hdf5 as hdf5_recordings
from runtime.formats.child import PIECE
from tests.fuzz.recordings import in_memory, read
from tests.recordings import EVT3_HEADER, evt3_bytes, hdf5_bytes, some_events
from tests.rosbags import write_bag

h5py = pytest.importorskip("h5py")
EVENTS = some_events(3000, width=300, height=200)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.h5"


@pytest.mark.parametrize("options", [{}, {"compression": "gzip", "shuffle": True, "chunks": (100,)}, {"chunks": (7,)}])
def test_what_dsec_stores_is_read_with_its_offset(options: dict[str, object], path: Path) -> None:
    path.write_bytes(hdf5_bytes(EVENTS, t_offset=1234, **options))
    source = open_source(str(path), sensor=(640, 480))
    assert (source.format, source.invalid) == ("hdf5", 0)
    assert np.concatenate(list(source.packets(100))).tolist() == EVENTS.tolist() and source.count() == len(EVENTS)


def test_blosc_is_unpacked(path: Path) -> None:
    plugin = pytest.importorskip("hdf5plugin")
    path.write_bytes(hdf5_bytes(EVENTS, **plugin.Blosc(cname="zstd", shuffle=1), chunks=(1000,)))
    assert read_events(path).tolist() == EVENTS.tolist()


def test_a_blosc_chunk_that_claims_more_than_it_should_be_is_refused(path: Path) -> None:
    plugin = pytest.importorskip("hdf5plugin")
    path.write_bytes(hdf5_bytes(EVENTS, **plugin.Blosc(), chunks=(1000,)))
    with h5py.File(path, "r") as file:
        place = file["events/x"].id.get_chunk_info(0).byte_offset
    data = bytearray(path.read_bytes())
    data[place + 4 : place + 8] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(PlifError, match="no event of it can be read"):
        read_events(path)


def test_damage_in_the_middle_leaves_the_events_before_it_and_a_note(path: Path) -> None:
    events = some_events(PIECE + 3000)
    path.write_bytes(hdf5_bytes(events, compression="gzip", chunks=(3000,)))
    with h5py.File(path, "r") as file:
        last = file["events/y"].id.get_chunk_info(file["events/y"].id.get_num_chunks() - 1)
    data = bytearray(path.read_bytes())
    data[last.byte_offset : last.byte_offset + last.size] = bytes(last.size)
    path.write_bytes(data)
    source = open_source(str(path))
    assert np.concatenate(list(source.packets())).tolist() == events[:PIECE].tolist()
    assert f"stopped after {PIECE} events" in source.notes[0]


def test_a_recording_is_opened_in_another_process_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(hdf5_bytes(EVENTS))
    monkeypatch.setattr(h5py, "File", None)
    monkeypatch.setattr(h5py.h5f, "open", None)
    assert read_events(path).tolist() == EVENTS.tolist()


FOUND, SOME, WITHOUT_END = b"H" + bytes(8), EVENTS[:10].tobytes(), b"P" + b"\xff" * 8


def record(tag: bytes, payload: bytes = b"", more: int = 0) -> bytes:
    return tag + (len(payload) + more).to_bytes(8, "little") + payload


@pytest.mark.parametrize(
    ("lie", "events"),
    [
        (FOUND + record(b"P", SOME) + record(b"P", SOME[:-1]) + record(b"Z"), 19),
        (FOUND + record(b"P", SOME) + WITHOUT_END, 10),
        (FOUND + record(b"P", SOME) + record(b"P", SOME, more=1), 10),
        (FOUND + record(b"P", SOME) + record(b"L") + record(b"?", SOME) + record(b"Z"), 10),
        (FOUND + record(b"P", SOME) + record(b"L", b"\xff" * 99) + record(b"Z"), 0),
        (FOUND + record(b"P", SOME) + record(b"E", b"\xff" * 999_999), 10),
        (FOUND, 0),
        (b"", 0),
        (record(b"E", b"\xff\x1b[2J" * 99_999), 0),
    ],
)
def test_what_the_process_says_that_decodes_a_recording_is_not_believed(
    lie: bytes, events: int, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file may have taken it over: here a process that writes what it was given in the place of ours."""
    program = tmp_path / "decode.py"
    more = "bytes(64 << 20)" if lie.endswith(WITHOUT_END) else "b''"
    program.write_text(f"import sys; sys.stdout.buffer.write({lie!r} + {more})")
    path.write_bytes(hdf5_bytes(EVENTS))
    monkeypatch.setattr(hdf5_recordings, "CHILD", program)
    with in_memory(16 << 20):
        found = read(path)
    if events:
        assert not isinstance(found, str), found
        assert len(found[1]) == events and all(note.isprintable() and len(note) < 1000 for note in found[3])
    else:
        assert isinstance(found, str) and found.isprintable() and len(found) < 1000


def test_a_structured_data_set_is_read(path: Path) -> None:
    for place in ("events", "CD/events"):
        with h5py.File(path, "w") as file:
            file[place] = EVENTS[["x", "y", "p", "t"]]
        assert read_events(path).tolist() == EVENTS.tolist()


def test_metavisions_codec_is_named_with_the_command_that_converts(path: Path) -> None:
    with h5py.File(path, "w") as file:
        made = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        made.set_chunk((100,))
        made.set_filter(36559, h5py.h5z.FLAG_OPTIONAL, ())
        space, group = h5py.h5s.create_simple((100,)), file.create_group("CD").id
        h5py.h5d.create(group, b"events", h5py.h5t.STD_I64LE, space, made)
    with pytest.raises(PlifError, match="metavision_file_to_csv -i FILE"):
        read_events(path)


def hdf5(path: Path, **data: object) -> None:
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            file["events/" + name] = values


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"t": [1], "x": [1], "y": [1]}, "expected t, x, y, p"),
        ({"t": [1.5], "x": [1], "y": [1], "p": [1]}, "expected integers"),
        ({"t": [1, 2], "x": [1], "y": [1], "p": [1]}, "one entry an event"),
        ({"t": np.zeros(0, int), "x": np.zeros(0, int), "y": np.zeros(0, int), "p": np.zeros(0, int)}, "no events"),
    ],
)
def test_what_is_no_set_of_events_is_refused_in_one_line(data: dict[str, object], said: str, path: Path) -> None:
    hdf5(path, **data)
    with pytest.raises(PlifError, match=said):
        read_events(path)


def test_another_hdf5_file_says_what_is_in_it(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["weights"] = [1.0]
    with pytest.raises(PlifError, match=r"\['weights'\].*expected events/"):
        read_events(path)


def test_events_are_not_read_from_another_file(path: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.h5"
    hdf5(secret, t=[1], x=[1], y=[1], p=[1])
    with h5py.File(path, "w") as file:
        file["events"] = h5py.ExternalLink("secret.h5", "events")
    with pytest.raises(PlifError, match="link to another place"):
        read_events(path)


def test_times_and_coordinates_that_cannot_be_are_counted(path: Path) -> None:
    hdf5(path, t=np.array([5, 1 << 63, 7, 9], "u8"), x=[1, 2, -3, 70_000], y=[1, 1, 1, 1], p=[1, 1, 0, 0])
    source = open_source(str(path), sensor=(34, 34))
    assert np.concatenate(list(source.packets())).tolist() == [(5, 1, 1, True)] and source.invalid == 3


# --- rosbags -----------------------------------------------------------------------------------------------------

BAGS = [("a.bag", False), ("sqlite", False), ("mcap", True)]


@pytest.fixture(autouse=True)
def needs_rosbags(request: pytest.FixtureRequest) -> None:
    if "bag" in request.node.name:
        pytest.importorskip("rosbags")


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


@pytest.mark.parametrize(("module", "extra"), [("h5py", "hdf5"), ("rosbags", "rosbag")])
def test_a_missing_library_names_its_extra(
    module: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    data = b"#ROSBAG V2.0\n" + bytes(99) if module == "rosbags" else hdf5_bytes(EVENTS)
    monkeypatch.setitem(sys.modules, module, None)
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    path = tmp_path / "a.bag"
    path.write_bytes(data)
    with pytest.raises(MissingExtra, match=rf"plif\[{extra}\]"):
        open_source(str(path))


def test_uzh_text_is_read(tmp_path: Path) -> None:
    """events.txt of the UZH sets (Mueggler 2017): seconds x y polarity, apart by a blank, without a header."""
    path = tmp_path / "events.txt"
    lines = [f"{t / 1e6:.9f} {x} {y} {int(p)}" for t, x, y, p in EVENTS.tolist()]
    path.write_text("\n".join(lines) + "\n")
    assert read_events(path).tolist() == EVENTS.tolist()


def test_a_text_of_uzh_with_its_size_in_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "events.txt"
    lines = [f"{t / 1e6:.6f} {x} {y} {int(p)}" for t, x, y, p in EVENTS.tolist()]
    path.write_text("\n".join(["346 260", *lines]) + "\n")
    source = open_source(str(path))
    assert source.sensor == (346, 260) and np.concatenate(list(source.packets())).tolist() == EVENTS.tolist()
