"""Each file format on bytes written here: fields, wraps, cut files, damaged files, and independence of chunk size."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import (
    EVENT_DTYPE,
    events_sha256,
    format_names,
    make_events,
    open_source,
    read_events,
    write_nmnist,
)
from tests.recordings import (
    AEDAT2_HEADER,
    AEDAT31_HEADER,
    DAT_HEADER,
    EVT3_HEADER,
    READ,
    some_events,
)

Make = Callable[..., Path]


@pytest.fixture(params=sorted(READ))
def written(request: pytest.FixtureRequest, make: Make) -> tuple[str, Path, np.ndarray]:
    events = some_events(300)
    writer, name = READ[request.param]
    return request.param, make(writer(events), name), events


# --- promises of all formats --------------------------------------------------------------------------------


def test_what_is_written_is_read_back(written: tuple[str, Path, np.ndarray]) -> None:
    name, path, events = written
    source = open_source(str(path))
    decoded = np.concatenate(list(source.packets()))
    assert source.format == name
    assert decoded.dtype == EVENT_DTYPE
    assert decoded.tolist() == events.tolist()
    assert (source.invalid, source.notes) == (0, [])
    assert source.count() == 300


def test_the_format_is_found_by_content_under_any_suffix(written: tuple[str, Path, np.ndarray]) -> None:
    name, path, events = written
    renamed = path.rename(path.with_name("recording.xyz"))
    assert open_source(str(renamed)).format == name
    assert read_events(renamed).tolist() == events.tolist()


@pytest.mark.parametrize("chunk", [40, 41, 1000])
def test_the_size_of_file_chunks_changes_nothing(
    written: tuple[str, Path, np.ndarray], chunk: int, cut: Callable[[int], None]
) -> None:
    cut(chunk)
    assert read_events(written[1]).tolist() == written[2].tolist()


@pytest.mark.parametrize("max_events", [1, 7, 1000])
def test_the_size_of_packets_changes_nothing(written: tuple[str, Path, np.ndarray], max_events: int) -> None:
    source = open_source(str(written[1]))
    for _ in range(2):  # a recording starts afresh each time
        packets = list(source.packets(max_events))
        assert max(map(len, packets)) <= max_events
        assert np.concatenate(packets).tolist() == written[2].tolist()


def test_a_file_cut_anywhere_gives_its_first_events_or_one_clear_line(written: tuple[str, Path, np.ndarray]) -> None:
    name, path, events = written
    data = path.read_bytes()
    whole = events.tolist()
    for size in [*range(120), *range(len(data) - 40, len(data)), *range(120, len(data), 997)]:
        path.write_bytes(data[:size])
        try:
            source = open_source(str(path))
            decoded = [row for packet in source.packets() for row in packet.tolist()]
        except PlifError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            continue
        if decoded and decoded[-1] != whole[len(decoded) - 1]:
            assert name == "csv"  # a number cut in its middle is still a number
            decoded.pop()
        assert decoded == whole[: len(decoded)]
        assert all("\n" not in note for note in source.notes)


@pytest.mark.parametrize("name", [name for name in sorted(READ) if name not in ("csv", "npy")])
def test_one_byte_too_few_is_noted_with_its_place(name: str, make: Make) -> None:
    writer, file_name = READ[name]
    data = writer(some_events(300))[:-1]
    path = make(data, file_name)
    source = open_source(str(path))
    assert sum(map(len, source.packets())) == 299
    assert len(source.notes) == 1
    if name == "aedat31":  # its header says how many there were
        assert source.invalid == 1 and "cut off at the end" in source.notes[0]
    else:
        left = {"nmnist": 4, "aedat2": 7, "evt2": 3, "evt21": 7, "evt3": 1, "dat": 7, "es": 4}[name]
        assert f"left over at byte {len(data) - left}" in source.notes[0]


def test_no_damaged_byte_ends_in_anything_but_events_or_one_clear_line(written: tuple[str, Path, np.ndarray]) -> None:
    _, path, _ = written
    data = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(data)
        for at in random.integers(0, len(data), random.integers(1, 8)):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            source = open_source(str(path))
            width, height = source.sensor
            for packet in source.packets():
                assert ((packet["x"] < width) & (packet["y"] < height)).all()
        except PlifError as error:
            assert "\n" not in str(error)


HEADERS = {
    "aedat2": AEDAT2_HEADER,
    "aedat31": AEDAT31_HEADER,
    "evt2": b"% evt 2.0\n% geometry 640x480\n% end\n",
    "evt3": EVT3_HEADER,
    "dat": DAT_HEADER + b"\x0c\x08",
    "es": b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", 128, 128),
    "csv": b"t,x,y,p\n",
}


@pytest.mark.parametrize("name", sorted(HEADERS.keys() & READ.keys()))
def test_a_header_without_events_is_an_error(name: str, make: Make) -> None:
    with pytest.raises(PlifError, match="no events"):
        open_source(str(make(HEADERS[name], READ[name][1])))


def test_what_is_no_recording_is_refused_in_one_line(make: Make, tmp_path: Path) -> None:
    for path, reason in (
        (make(b"", "empty.bin"), "empty"),
        (tmp_path, "folder"),
        (tmp_path / "absent.raw", "no such file"),
        (make(bytes(1000), "zeros.dat"), "known format"),
        (make(np.random.default_rng(0).bytes(4000), "noise.bin"), "known format"),
        (make(b"\x89PNG\r\n\x1a\n" + bytes(300), "picture.png"), "known format"),
        (make(b"Dear reader,\nthis is a letter.\n", "letter.txt"), "known format"),
        (make(b"\x1f\x8b" + bytes(80), "packed.gz"), "packed with gzip.*gunzip"),
    ):
        with pytest.raises(PlifError, match=reason) as caught:
            open_source(str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(PlifError, match=r"no source is called 'quic'; known: a path"):
        open_source("quic://127.0.0.1:7777")


def test_events_outside_the_sensor_are_counted_and_not_used(written: tuple[str, Path, np.ndarray]) -> None:
    _, path, events = written
    source = open_source(str(path), sensor=(20, 30))
    decoded = np.concatenate(list(source.packets()))
    inside = (events["x"] < 20) & (events["y"] < 30)
    assert decoded.tolist() == events[inside].tolist()
    assert source.invalid == int((~inside).sum())
    assert source.count() == len(decoded)
    assert "outside the 20x30 sensor" in source.notes[-1]


def test_the_hash_is_over_whole_arrays_in_little_endian() -> None:
    import hashlib

    events = make_events([1, 2], [3, 4], [5, 6], [True, False])
    data = struct.pack("<qqHHHHBB", 1, 2, 3, 4, 5, 6, 1, 0)
    assert events_sha256(events) == hashlib.sha256(data).hexdigest()


def test_every_format_has_a_name_of_its_own() -> None:
    assert len(set(format_names())) == len(format_names())
    assert format_names()[-1] == "nmnist"  # it has no magic number


# --- N-MNIST ------------------------------------------------------------------------------------------------


def test_an_nmnist_event_is_its_five_documented_bytes(make: Make) -> None:
    path = make(bytes([3, 7, 0x81, 0x02, 0x03]), "one.bin")
    assert read_events(path).tolist() == [(0x010203, 3, 7, True)]


def test_row_240_adds_8192_us_to_all_later_nmnist_events(make: Make) -> None:
    path = make(bytes([1, 1, 0, 0, 9, 0, 240, 0, 0, 0, 2, 2, 0, 0, 1, 0, 240, 0, 0, 0, 3, 3, 0, 0, 2]), "o.bin")
    source = open_source(str(path))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [9, 8193, 2 * 8192 + 2]
    assert source.invalid == 0


def test_written_nmnist_files_read_back_also_beyond_2_to_the_23_us(tmp_path: Path) -> None:
    for last_us in (300_000, 30_000_000):
        events = some_events(2000, last_us=last_us)
        write_nmnist(tmp_path / "w.bin", events)
        assert read_events(tmp_path / "w.bin").tolist() == events.tolist()
    assert [path.name for path in tmp_path.iterdir()] == ["w.bin"]


@pytest.mark.parametrize(("t", "x", "y"), [(0, 256, 0), (0, 0, 240), (-1, 0, 0), (10**15, 0, 0)])
def test_what_five_bytes_cannot_hold_is_refused_and_no_file_appears(t: int, x: int, y: int, tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="does not fit the 5-byte layout"):
        write_nmnist(tmp_path / "w.bin", make_events([t], [x], [y], [True]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("x", "y", "sensor"), [(33, 33, (34, 34)), (34, 0, (128, 128)), (200, 0, (240, 180)), (0, 200, (304, 240))]
)
def test_an_nmnist_file_gets_the_smallest_sensor_that_holds_it(
    x: int, y: int, sensor: tuple[int, int], make: Make
) -> None:
    assert open_source(str(make(bytes([x, y, 0, 0, 1]), "s.bin"))).sensor == sensor


# --- clocks ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("back_us", [1, 100, 10_000])
@pytest.mark.parametrize("name", [name for name in ("evt2", "evt3", "dat", "aedat2") if name in READ])
def test_a_small_step_back_in_time_stays_one(name: str, back_us: int, make: Make) -> None:
    t = [1_000_000, 1_000_050, 1_000_050 - back_us, 1_000_060]
    writer, file_name = READ[name]
    assert read_events(make(writer(make_events(t, [1] * 4, [1] * 4, [True] * 4)), file_name))["t"].tolist() == t


@pytest.mark.parametrize("jump_us", [1_000_000, 3_600_000_000])
@pytest.mark.parametrize("name", [name for name in ("evt2", "dat", "aedat2") if name in READ])
def test_a_long_jump_forward_stays_as_long_as_it_is(name: str, jump_us: int, make: Make) -> None:
    t = [1_000, 1_000 + jump_us]
    writer, file_name = READ[name]
    assert read_events(make(writer(make_events(t, [1, 1], [1, 1], [True, True])), file_name))["t"].tolist() == t
