"""Recordings in HDF5: what they hold comes back, damage ends in events or one line."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.events import open_source, read_events
from runtime.formats import hdf5 as hdf5_recordings
from runtime.formats.child.records import PIECE
from tests.fuzz.recordings import in_memory, read
from tests.recordings import hdf5_bytes, some_events

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.usefixtures("warm_child")
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
    nothing = ModuleType("h5py")  # all that this process has of it
    nothing.__spec__ = h5py.__spec__
    monkeypatch.setitem(sys.modules, "h5py", nothing)
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


def test_a_missing_library_names_its_extra(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(hdf5_bytes(EVENTS))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(MissingExtra, match=r"plif\[hdf5\]"):
        open_source(str(path))
