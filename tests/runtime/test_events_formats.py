"""Each file format on bytes written here: fields, wraps, cut files, damaged files, and independence of chunk size."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from runtime.base.errors import PlifError
from runtime.events import EVENT_DTYPE, events_sha256, format_names, make_events, open_source, read_events, write_nmnist
from runtime.events.formats import base
from tests.recorded import real_or_shipped
from tests.recordings import (
    AEDAT2_HEADER,
    AEDAT31_HEADER,
    DAT_HEADER,
    EVT3_HEADER,
    WRITERS,
    aedat31_packet,
    dat_bytes,
    es_bytes,
    evt2_bytes,
    evt3_bytes,
    npy_bytes,
    some_events,
    words16,
)

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Bytes -> a file with them."""

    def write(data: bytes, name: str = "recording.raw") -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture(params=sorted(WRITERS))
def written(request: pytest.FixtureRequest, make: Make) -> tuple[str, Path, np.ndarray]:
    events = some_events(300)
    writer, name = WRITERS[request.param]
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
    written: tuple[str, Path, np.ndarray], chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "CHUNK_BYTES", chunk)
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


@pytest.mark.parametrize("name", [name for name in sorted(WRITERS) if name not in ("csv", "npy")])
def test_one_byte_too_few_is_noted_with_its_place(name: str, make: Make) -> None:
    writer, file_name = WRITERS[name]
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
    "a.aedat": AEDAT2_HEADER,
    "b.aedat": AEDAT31_HEADER,
    "c.raw": b"% evt 2.0\n% geometry 640x480\n% end\n",
    "d.raw": EVT3_HEADER,
    "e.dat": DAT_HEADER + b"\x0c\x08",
    "f.es": b"Event Stream\x02\x00\x00\x01" + struct.pack("<HH", 128, 128),
    "g.csv": b"t,x,y,p\n",
}


@pytest.mark.parametrize("name", sorted(HEADERS))
def test_a_header_without_events_is_an_error(name: str, make: Make) -> None:
    with pytest.raises(PlifError, match="no events"):
        open_source(str(make(HEADERS[name], name)))


def test_what_is_no_recording_is_refused_in_one_line(make: Make, tmp_path: Path) -> None:
    for path, reason in (
        (make(b"", "empty.bin"), "empty"),
        (tmp_path, "folder"),
        (tmp_path / "absent.raw", "no such file"),
        (make(bytes(1000), "zeros.dat"), "known format"),
        (make(np.random.default_rng(0).bytes(4000), "noise.bin"), "known format"),
        (make(b"\x89PNG\r\n\x1a\n" + bytes(300), "picture.png"), "known format"),
        (make(b"Dear reader,\nthis is a letter.\n", "letter.txt"), "known format"),
        (make(b"% evt 4.0\n% end\n" + bytes(64), "new.raw"), "EVT 4.0 is not read"),
        (make(b"% format EVT4;height=720;width=1280\n% end\n" + bytes(64), "newer.raw"), "EVT 4.0 is not read"),
    ):
        with pytest.raises(PlifError, match=reason) as caught:
            open_source(str(path))
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_scheme_names_the_known_ones() -> None:
    with pytest.raises(PlifError, match=r"no source is called 'quic'; known: a path, '-'"):
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


def test_every_format_is_registered_under_its_own_name() -> None:
    assert set(format_names()) == {*WRITERS, "aedat4", "hdf5", "npz", "rosbag"}
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


# --- AEDAT --------------------------------------------------------------------------------------------------


def test_aedat2_polarity_is_inverted_and_the_upright_view_is_turned(make: Make) -> None:
    path = make(AEDAT2_HEADER + struct.pack(">IIII", 5 << 8 | 9 << 1, 100, 5 << 8 | 9 << 1 | 1, 101))
    source = open_source(str(path))
    assert next(iter(source.packets())).tolist() == [(100, 9, 5, True), (101, 9, 5, False)]
    assert (source.sensor, source.upright) == ((128, 128), "rotate180")


def test_aedat2_sync_inputs_are_invalid_and_times_wrap(make: Make) -> None:
    data = struct.pack(">IIIIII", 0, 0xFFFFFFF0, 0x8000, 0xFFFFFFF1, 2, 16)
    source = open_source(str(make(AEDAT2_HEADER + data)))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [0xFFFFFFF0, (1 << 32) + 16]
    assert source.invalid == 1


def test_aedat2_of_a_chip_with_another_address_layout_is_refused(make: Make) -> None:
    header = b"#!AER-DAT2.0\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\n"
    with pytest.raises(PlifError, match="DVS128's address layout"):
        open_source(str(make(header + bytes(8))))


def test_aedat31_reads_number_and_not_capacity_and_skips_other_packets(make: Make) -> None:
    events = some_events(10)
    data = aedat31_packet(events[:3], kind=0) + aedat31_packet(events, capacity=4096)
    assert read_events(make(AEDAT31_HEADER + data)).tolist() == events.tolist()


def test_aedat31_events_without_the_valid_bit_are_invalid(make: Make) -> None:
    events = some_events(10)
    data = aedat31_packet(events[:4]) + aedat31_packet(events[4:], valid=0)
    source = open_source(str(make(AEDAT31_HEADER + data)))
    assert np.concatenate(list(source.packets())).tolist() == events[:4].tolist()
    assert source.invalid == 6
    assert "marked invalid" in source.notes[0]


def test_aedat31_overflow_counts_in_units_of_2_to_the_31(make: Make) -> None:
    events = make_events([5], [1], [2], [True])
    data = AEDAT31_HEADER + aedat31_packet(events) + aedat31_packet(events, overflow=2)
    assert read_events(make(data))["t"].tolist() == [5, 5 + (2 << 31)]


def test_a_damaged_aedat31_packet_header_ends_the_recording_with_a_note(make: Make) -> None:
    events = some_events(10)
    damaged = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 5, 99, 99) + bytes(40)
    source = open_source(str(make(AEDAT31_HEADER + aedat31_packet(events) + damaged)))
    assert sum(map(len, source.packets())) == 10
    assert f"byte {len(AEDAT31_HEADER) + 28 + 80} is damaged" in source.notes[0]


def test_a_cut_aedat4_file_gives_what_was_readable_and_a_note(make: Make) -> None:
    pytest.importorskip("aedat", reason="AEDAT 4 files need the aedat package")
    whole = real_or_shipped("davis346_346x260_0p13s.aedat4", "aedat4.aedat4")
    data = whole.read_bytes()
    events = read_events(whole)
    for size in (20, 100, 3000, 4000, 100_000, len(data) // 2, len(data) - 10_000):
        try:
            source = open_source(str(make(data[:size], "cut.aedat4")))
            decoded = np.concatenate(list(source.packets()))
        except PlifError as error:
            assert size < 100_000 and "\n" not in str(error)
            continue
        assert decoded.tolist() == events[: len(decoded)].tolist()
        assert len(decoded) == len(events) or "reading stopped after" in source.notes[0]


def test_an_aedat4_file_is_read_whatever_bytes_its_name_has(make: Make) -> None:
    pytest.importorskip("aedat", reason="AEDAT 4 files need the aedat package")
    whole = real_or_shipped("davis346_346x260_0p13s.aedat4", "aedat4.aedat4")
    named = make(whole.read_bytes(), os.fsdecode(b"caf\xe9.aedat4"))  # Latin-1, and no UTF-8
    assert events_sha256(read_events(named)) == events_sha256(read_events(whole))


# --- EVT 2, EVT 3, DAT --------------------------------------------------------------------------------------


def test_evt2_without_a_header_is_recognised_and_early_events_are_counted(make: Make) -> None:
    events = some_events(300, width=320, height=320)
    early = struct.pack("<III", 1 << 22, 2 << 22, 3 << 22)
    source = open_source(str(make(early + evt2_bytes(events, header=b""), "a.raw")))
    assert np.concatenate(list(source.packets())).tolist() == events.tolist()
    assert (source.format, source.sensor, source.invalid) == ("evt2", (320, 320), 3)
    assert source.notes == [f"{source.name}: 3 events before the first TIME_HIGH: not used"]


def test_evt2_wraps_at_2_to_the_34_us(make: Make) -> None:
    events = make_events([(1 << 34) - 1, (1 << 34) + 5, (1 << 34) + 100], [1, 2, 3], [4, 5, 6], [1, 0, 1])
    assert read_events(make(evt2_bytes(events))).tolist() == events.tolist()


def test_evt3_wraps_at_2_to_the_24_us_however_often(make: Make) -> None:
    t = [(k << 24) + d for k in range(3) for d in (5, 6_000_000, (1 << 24) - 1)]
    events = make_events(t, range(9), range(9), [True] * 9)
    assert read_events(make(evt3_bytes(events))).tolist() == events.tolist()


def test_dat_wraps_at_2_to_the_32_us(make: Make) -> None:
    events = make_events([(1 << 32) - 1, (1 << 32) + 5], [1, 2], [4, 5], [1, 0])
    assert read_events(make(dat_bytes(events))).tolist() == events.tolist()


@pytest.mark.parametrize("back_us", [1, 100, 10_000])
@pytest.mark.parametrize("name", ["evt2", "evt3", "dat", "aedat2"])
def test_a_small_step_back_in_time_stays_one(name: str, back_us: int, make: Make) -> None:
    t = [1_000_000, 1_000_050, 1_000_050 - back_us, 1_000_060]
    writer, file_name = WRITERS[name]
    assert read_events(make(writer(make_events(t, [1] * 4, [1] * 4, [True] * 4)), file_name))["t"].tolist() == t


@pytest.mark.parametrize("jump_us", [1_000_000, 3_600_000_000])
@pytest.mark.parametrize("name", ["evt2", "dat", "aedat2"])
def test_a_long_jump_forward_stays_as_long_as_it_is(name: str, jump_us: int, make: Make) -> None:
    t = [1_000, 1_000 + jump_us]
    writer, file_name = WRITERS[name]
    assert read_events(make(writer(make_events(t, [1, 1], [1, 1], [True, True])), file_name))["t"].tolist() == t


def test_evt3_vectors_share_row_time_and_polarity_and_move_their_base(make: Make) -> None:
    data = words16(
        0x8001, 0x6002, 0x0007,  # time 0x1002, row 7
        0x3000 | 1 << 11 | 100,  # base 100, ON
        0x4000 | 0b100000000001,  # columns 100 and 111
        0x5000 | 0b10000001,  # base is 112 now: columns 112 and 119
        0x2000 | 50,  # one event, OFF, leaves the base alone
        0x5F00 | 0b1,  # base 120; the upper four bits mean nothing
        0x3000 | 200, 0x4000 | 0b10,  # a new base, OFF
    )  # fmt: skip
    events = read_events(make(EVT3_HEADER + data))
    assert events["x"].tolist() == [100, 111, 112, 119, 50, 120, 201]
    assert events["p"].tolist() == [True, True, True, True, False, True, False]
    assert set(events["t"].tolist()) == {0x1002} and set(events["y"].tolist()) == {7}


def test_evt3_events_without_time_row_or_base_are_counted_each(make: Make) -> None:
    data = words16(0x0003, 0x2001, 0x8000, 0x2002, 0x4003, 0x3000, 0x4001)
    source = open_source(str(make(EVT3_HEADER + data)))
    assert np.concatenate(list(source.packets())).tolist() == [(0, 2, 3, False), (0, 0, 3, False)]
    assert source.invalid == 3
    assert [note.split(": ")[1] for note in source.notes] == [
        "1 event before the first TIME_HIGH",
        "2 events in a vector without a base",
    ]


def test_evt3_a_new_time_high_clears_time_low_and_a_repeated_one_does_not(make: Make) -> None:
    data = words16(0x8001, 0x6005, 0x0000, 0x2001, 0x8001, 0x2002, 0x8002, 0x2003)
    assert read_events(make(EVT3_HEADER + data))["t"].tolist() == [0x1005, 0x1005, 0x2000]


def test_evt3_vectors_past_the_last_column_are_invalid_not_wrapped(make: Make) -> None:
    data = words16(0x8000, 0x0000, 0x3000 | 2040, *[0x4FFF] * 9000)
    source = open_source(str(make(EVT3_HEADER + data)))
    with pytest.raises(PlifError, match="108000 of 108000 events cannot be used"):
        list(source.packets())
    assert source.invalid == 12 * 9000


def test_words_without_a_header_are_known_by_their_types_and_a_clock_that_runs_forward(make: Make) -> None:
    """EVT 2.0 of 20 times with events, times backwards, words that go on where none began, and ones that did begin; EVT 3.0 whose
    clock starts again and again, and one that runs backwards."""
    times = [0x80000000 | 64 * i for i in range(20)]
    event, goes_on, begun = 0x10000000 | 70 << 11 | 90, 0xF0000000 | 77, 0xE0000000 | 55

    def evt2(*words: int) -> Path:
        return make(struct.pack(f"<{len(words)}I", *words), "a.raw")

    pairs = [word for time in times for word in (time, event, event)]
    assert open_source(str(evt2(*pairs))).format == "evt2"
    assert open_source(str(evt2(*pairs, *[goes_on] * 8))).format == "evt2"
    assert open_source(str(evt2(*pairs, begun, *[goes_on] * 16))).format == "evt2"
    words = [0x6003, 0x0007, 0x2009]
    assert open_source(str(make(words16(*[0x8FFF, *words, 0x8000, *words] * 9), "a.raw"))).format == "evt3"
    for other in (
        evt2(*pairs[::-1]),
        evt2(*pairs, *[goes_on] * 9),
        evt2(*pairs, begun, *[goes_on] * 17),
        make(words16(*[word for i in range(20, 0, -1) for word in (0x8000 | i, *words)]), "b.raw"),
    ):
        with pytest.raises(PlifError, match="known format"):
            open_source(str(other))


def test_dat_and_evt_take_the_sensor_from_their_header(make: Make) -> None:
    events = some_events(10)
    assert open_source(str(make(dat_bytes(events)))).sensor == (304, 240)
    assert open_source(str(make(evt2_bytes(events)))).sensor == (640, 480)
    assert open_source(str(make(evt3_bytes(events)))).sensor == (1280, 720)


# --- Event Stream -------------------------------------------------------------------------------------------


def test_es_of_an_atis_gives_change_events_and_notes_exposures(make: Make) -> None:
    events = some_events(200)
    data = es_bytes(events, atis=True) + bytes([0b01]) + struct.pack("<HH", 1, 1)
    source = open_source(str(make(data, "a.es")))
    assert np.concatenate(list(source.packets())).tolist() == events.tolist()
    assert source.invalid == 0
    assert "1 exposure measurements" in source.notes[0]


def test_es_resets_change_nothing_and_rows_count_from_the_bottom(make: Make) -> None:
    events = some_events(2)
    whole = es_bytes(events)
    source = open_source(str(make(whole[:20] + b"\xfe" * 7 + whole[20:], "a.es")))
    assert np.concatenate(list(source.packets())).tolist() == events.tolist()
    assert source.upright == "flip_y"


@pytest.mark.parametrize(("at", "value", "reason"), [(12, 1, "version 1"), (15, 4, "colour"), (15, 9, "of 9")])
def test_es_of_another_version_or_type_is_refused(at: int, value: int, reason: str, make: Make) -> None:
    data = bytearray(es_bytes(some_events(2)))
    data[at] = value
    with pytest.raises(PlifError, match=reason):
        open_source(str(make(bytes(data))))


# --- text and NumPy -----------------------------------------------------------------------------------------


def test_csv_columns_follow_the_header_and_other_spellings_of_numbers(make: Make) -> None:
    text = b"\xef\xbb\xbf# made by hand\r\nx,y,polarity,extra,timestamp\r\n"
    text += b"1,2,1,9,100\r\n\r\n3,4,-1,9,200.0\r\n5, 6,true,9,300"
    source = open_source(str(make(text, "a.csv")))
    assert np.concatenate(list(source.packets())).tolist() == [(100, 1, 2, True), (200, 3, 4, False), (300, 5, 6, True)]
    assert source.invalid == 0


@pytest.mark.parametrize(
    "line",
    [b"1,2,3", b"1,2,3,4,5", b"a,1,2,1", b"1,,2,1", b"1.5,2,3,1", b"1,2,3,7", b"1-2,3,4,1", b"9" * 25 + b",1,2,1"],
)
def test_a_line_that_is_no_event_is_one_invalid_event_and_described(line: bytes, make: Make) -> None:
    text = b"10,1,1,1\n20,2,2,0\n" + line + b"\n30,3,3,1\n" + line + b"\n"
    source = open_source(str(make(text, "a.csv")))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [10, 20, 30]
    assert source.invalid == 2
    assert "2 lines are not an event; the first is line 3: " in source.notes[0]
    assert line[:40].decode() in source.notes[0]


def test_csv_coordinates_outside_any_sensor_are_invalid(make: Make) -> None:
    source = open_source(str(make(b"1,2,3,1\n2,-1,3,1\n3,70000,3,1\n4,5,6,0\n", "a.csv")))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [1, 4]
    assert source.invalid == 2


def test_an_endless_csv_line_is_skipped_in_bounded_memory(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK_BYTES", 1000)
    source = open_source(str(make(b"1,2,3,1\n" + b"7" * 50_000 + b"\n2,2,3,1\nx\n", "a.csv")))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [1, 2]
    assert source.invalid == 2
    assert "line 2" in source.notes[0]


def test_a_csv_header_that_lacks_a_field_is_an_error(make: Make) -> None:
    with pytest.raises(PlifError, match="line 1: the header 't,x,y,q'"):
        open_source(str(make(b"t,x,y,q\n1,2,3,1\n", "a.csv")))


def test_npz_reads_four_arrays_or_one_structured_array(tmp_path: Path) -> None:
    events = some_events(200_000)
    np.savez(tmp_path / "a.npz", t=events["t"], x=events["x"].astype(">i4"), y=events["y"], p=events["p"])
    np.savez_compressed(tmp_path / "b.npz", ts=events["t"], x=events["x"], y=events["y"], polarity=events["p"] * 2 - 1)
    np.savez(tmp_path / "c.npz", events=events)
    for name in ("a", "b", "c"):
        source = open_source(str(tmp_path / f"{name}.npz"))
        assert events_sha256(np.concatenate(list(source.packets()))) == events_sha256(events)
        assert (source.format, source.sensor, source.invalid) == ("npz", (34, 34), 0)


def test_npz_never_unpickles(tmp_path: Path) -> None:
    marker = tmp_path / "marker"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            import os

            return os.system, (f"touch {marker}",)

    np.savez(tmp_path / "a.npz", t=np.array([Attack()], dtype=object), x=[1], y=[1], p=[1])
    with pytest.raises(PlifError, match="never read"):
        open_source(str(tmp_path / "a.npz"))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"t": [1.5], "x": [1], "y": [1], "p": [1]}, "expected integers"),
        ({"t": [1, 2], "x": [1], "y": [1], "p": [1]}, "same number"),
        ({"t": [[1]], "x": [[1]], "y": [[1]], "p": [[1]]}, "one dimension"),
        ({"a": [1], "b": [2]}, "expected t, x, y, p"),
        ({"t": np.zeros(0, int), "x": np.zeros(0, int), "y": np.zeros(0, int), "p": np.zeros(0, int)}, "no events"),
    ],
)
def test_npz_without_four_integer_arrays_is_refused(arrays: dict[str, list[int]], reason: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(PlifError, match=reason):
        open_source(str(tmp_path / "a.npz"))


def test_a_damaged_npz_counts_what_is_lost(tmp_path: Path) -> None:
    events = some_events(200_000)
    path = tmp_path / "a.npz"
    np.savez(path, events=events)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    source = open_source(str(path))
    decoded = sum(map(len, source.packets()))
    assert decoded + source.invalid == 200_000 and source.invalid > 0
    assert "damaged" in source.notes[0]
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(PlifError, match="not a complete"):
        open_source(str(path))


# --- known by their structure, or by their names -----------------------------------------------------------------------


def test_the_header_of_a_raw_file_ends_at_its_end_although_events_look_like_a_line(make: Make) -> None:
    looks_like_a_line = b"% \n\x80" + evt2_bytes(some_events(20), header=b"")
    source = open_source(str(make(b"% evt 2.0\n% geometry 640x480\n% end\n" + looks_like_a_line)))
    assert len(np.concatenate(list(source.packets()))) >= 20


def test_a_dat_file_is_one_whatever_its_first_sentence(make: Make) -> None:
    body = dat_bytes(some_events(20))[len(DAT_HEADER) :]
    for header in (
        b"% Date 2024-01-01\n% Version 2\n% Height 240\n% Width 304\n",
        b"% Width 304\n% Height 240\n% end\n",
    ):
        source = open_source(str(make(header + body)))
        assert (source.format, source.sensor) == ("dat", (304, 240))
        assert np.concatenate(list(source.packets())).tolist() == some_events(20).tolist()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"#!AER-DAT1.0\r\n" + bytes(80), "AEDAT 1.0"),
        (b"\x1f\x8b" + bytes(80), "gunzip"),
        (b"#!AER-DAT3.1\r\n#Format: SerializedTS\r\n#!END-HEADER\r\n" + bytes(80), "encoding 'SerializedTS'"),
    ],
)
def test_a_format_that_is_not_read_is_named_with_what_to_do(data: bytes, said: str, make: Make) -> None:
    with pytest.raises(PlifError, match=said):
        open_source(str(make(data)))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("begin_us", (0, 4_000_000, 2**32 - 150_000))
def test_aedat_1_without_a_header_is_named_and_never_taken_for_another_format(
    seed: int, begin_us: int, make: Make
) -> None:
    """As jAER wrote it first: address uint16, time uint32, big-endian, and nothing before them."""
    events = some_events(400, seed, 128, 128)
    words = [struct.pack(">HI", y << 8 | x << 1 | (not p), t + begin_us & 0xFFFFFFFF) for t, x, y, p in events.tolist()]
    for name in ("Tmpdiff128-2006.dat", "a.bin", "a"):
        with pytest.raises(PlifError, match=r"AEDAT 1\.0 without a header .*save it as AEDAT 2\.0") as error:
            open_source(str(make(b"".join(words), name)))
        assert "\n" not in str(error.value)
    with pytest.raises(PlifError, match="not a recording in a known format"):
        open_source(str(make(np.random.default_rng(seed).bytes(2400), "noise.dat")))


def test_a_word_of_evt21_holds_a_row_of_up_to_32_pixels(make: Make) -> None:
    def words(*words: int) -> bytes:
        return b"% evt 2.1\n% geometry 64x64\n% end\n" + struct.pack(f"<{len(words)}Q", *words)

    event = 5 << 54 | 32 << 43 | 9 << 32
    data = words(
        1 << 60 | event | 0b111, 0x8 << 60 | 2 << 32, 1 << 60 | event | 1 << 31 | 0b101, event, event | 2, 0x3 << 60
    )
    source = open_source(str(make(data)))
    events = np.concatenate(list(source.packets())).tolist()
    assert events == [(133, 32, 9, True), (133, 34, 9, True), (133, 63, 9, True), (133, 33, 9, False)]
    assert source.invalid == 3 and "1 words of a type" in source.notes[0] + source.notes[-1]


def test_evt21_with_swapped_halves_is_refused_and_not_misread(make: Make) -> None:
    with pytest.raises(PlifError, match="endianness=legacy is not read"):
        open_source(str(make(b"% evt 2.1\n% format EVT21;endianness=legacy\n% end\n" + bytes(64))))


def test_a_npy_file_that_is_cut_or_no_array_of_events_is_said(make: Make) -> None:
    whole = npy_bytes(some_events(300))
    source = open_source(str(make(whole[:-1], "a.npy")))
    assert sum(map(len, source.packets())) == 299 and source.invalid == 1 and len(source.notes) == 2
    with pytest.raises(PlifError, match=r"expected one structured array of events \[N\] with t, x, y, p"):
        open_source(str(make(npy_bytes(np.zeros((5, 4))), "b.npy")))
    with pytest.raises(PlifError, match="expected integers"):
        open_source(str(make(npy_bytes(np.zeros(5, [("t", "f8"), ("x", "u2"), ("y", "u2"), ("p", "?")])), "c.npy")))
