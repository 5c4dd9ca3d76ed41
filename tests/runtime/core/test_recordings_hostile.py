"""Recordings whose headers lie, and arrays that claim what they do not hold: one line, and no memory is taken for the claim."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from runtime.core.events import make_events, make_frames, open_source, read_events
from runtime.core.events.formats import base
from runtime.core.stream.source_framer import SourceFramer
from runtime.datasets.cifar10_images.set import ImageDecoder
from runtime.datasets.zip_archives import _open_cached
from tests.fuzz.recordings import in_memory
from tests.recordings import (
    READ,
    aedat31_packet,
    evt2_bytes,
    evt3_bytes,
    nmnist_bytes,
    some_events,
)

LITTLE = 24 << 20  # bytes: what reading any small file may take


def refused(path: Path) -> str:
    """The line that refuses a recording, got in little memory."""
    with in_memory(LITTLE), pytest.raises(PlifError) as caught:
        list(open_source(f"file:{path}").packets())
    line = str(caught.value)
    assert line.startswith(str(path)) and line.isprintable() and len(line) < 600
    return line


EVT2_WORDS = evt2_bytes(some_events(50), header=b"")
EVT3_WORDS = evt3_bytes(some_events(50)).partition(b"% end\n")[2]
CLAIMS = {
    "a.raw": (b"%% evt 2.0\n%% geometry %dx%d\n%% end\n", EVT2_WORDS),
    "b.raw": (b"%% evt 3.0\n%% format EVT3;height=%d;width=%d\n%% end\n", EVT3_WORDS),
    "c.raw": (b"%% evt 3.0\n%% format EVT3;width=%d;height=%d\n%% end\n", EVT3_WORDS),
    "d.dat": (
        b"%% Data file containing CD events.\n%% Version 2\n%% Height %d\n%% Width %d\n",
        b"\x0c\x08" + bytes(80),
    ),
    "e.aedat": (b"#!AER-DAT3.1\r\n#Sensor: %dx%d\r\n#!END-HEADER\r\n", aedat31_packet(some_events(50))),
}
CLAIMED = [name for name, kind in zip(CLAIMS, ("evt2", "evt3", "evt3", "dat", "aedat31"), strict=True) if kind in READ]


@pytest.mark.parametrize("name", CLAIMED)
@pytest.mark.parametrize("size", [(99_999_999, 99_999_999), (99_999, 4), (65_536, 65_537)])
def test_a_header_that_claims_an_impossible_sensor_is_refused_by_one_rule(
    name: str, size: tuple[int, int], tmp_path: Path
) -> None:
    header, body = CLAIMS[name]
    if name == "e.aedat":  # whose line is ours, and has five digits
        size = (min(size[0], 99_999), min(size[1], 99_999))
    (tmp_path / name).write_bytes(header % size + body)
    line = refused(tmp_path / name)
    assert "claims a sensor of " in line and "expected both from 1 to 65536" in line


@pytest.mark.parametrize("name", CLAIMED)
def test_the_largest_sensor_is_read_and_framed_in_little_memory(name: str, tmp_path: Path) -> None:
    header, body = CLAIMS[name]
    (tmp_path / name).write_bytes(header % (65_536, 65_536) + body)
    with in_memory(LITTLE):
        frames = SourceFramer(open_source(f"file:{tmp_path / name}"), "duration:50ms", (2, 16, 16))
        for frame in frames:
            frames.account.add(used=frame.events)
    assert frames.account.waiting == 0 and frames.account.events_in


@pytest.mark.parametrize("name", [name for name in CLAIMED if name != "e.aedat" and name != "c.raw"])
def test_a_number_of_five_thousand_digits_in_a_header_is_no_crash(name: str, tmp_path: Path) -> None:
    header, body = CLAIMS[name]
    (tmp_path / name).write_bytes(header.replace(b"%d", b"9" * 5000).replace(b"%%", b"%") + body)
    try:
        assert open_source(f"file:{tmp_path / name}").sensor == (34, 34)  # DAT: a size that is none is not taken
    except PlifError as error:
        assert "claims a sensor of 999999999 x 999999999" in str(error)


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b"% evt 3.0\n", b"% " + b"x" * 97 + b"\n"),
        (b"#!AER-DAT2.0\r\n", b"# " + b"y" * 96 + b"\r\n"),
        (b"% evt 2.0\n% ", b"z"),
    ],
)
def test_a_header_without_an_end_is_refused(start: bytes, more: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(start + more * (3 * base.HEADER_LIMIT // len(more)))
    assert "does not end within" in refused(tmp_path / "a") or start.endswith(b"% ")


def test_a_header_full_of_widths_is_read_once(tmp_path: Path) -> None:
    """One expression that looks for the height after each width would read it a hundred thousand times: for hours."""
    (tmp_path / "a.raw").write_bytes(b"% evt 3.0\n" + b"% width=9\n" * 100_000 + EVT3_WORDS)
    assert open_source(str(tmp_path / "a.raw")).sensor == (304, 240)


# --- npz ------------------------------------------------------------------------------------------------------------------


def npy(text: str, body: bytes, version: int = 1, length: int | None = None) -> bytes:
    """An array with a header of one's own."""
    size = len(text) + 1 if length is None else length
    return (
        b"\x93NUMPY"
        + bytes([version, 0])
        + size.to_bytes(2 if version == 1 else 4, "little")
        + text.encode()
        + b"\n"
        + body
    )


def described(dtype: str, shape: str) -> str:
    return f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"


def npz_of(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


FIVE = {name: npy(described("'<i8'", "(5,)"), bytes(40)) for name in "txyp"}
RECORD = "[('t', '<i8'), ('x', '<u2'), ('y', '<u2'), ('p', '|b1'), ('q', '|V{}')]"
LIES: dict[str, tuple[dict[str, bytes], str]] = {
    "rows": ({**FIVE, "t": npy(described("'<i8'", f"({1 << 62},)"), bytes(40))}, "promises"),
    "all rows": ({name: npy(described("'<i8'", f"({1 << 60},)"), bytes(40)) for name in "txyp"}, "promises"),
    "a shape without an end": ({**FIVE, "t": npy(described("'<i8'", f"(1{'0' * 5000},)"), bytes(40))}, "not a complete"),
    "a negative shape": ({**FIVE, "t": npy(described("'<i8'", "(-5,)"), bytes(40))}, "promises"),
    "a wide record": ({"events": npy(described(RECORD.format(60_000), "(5,)"), bytes(5 * 60_013))}, "entries of 60013 bytes"),
    "a long header": ({**FIVE, "t": npy("{" * 60_000, b"")}, "a header of 60001 bytes"),
    "a header of gigabytes": ({**FIVE, "t": npy("{}", b"", 2, 0xFFFFFFFF)}, "a header of 4294967295 bytes"),
    "parentheses": ({**FIVE, "t": npy("(" * 9000, b"")}, "not a complete"),
    "a string for a header": ({**FIVE, "t": npy("'x' * 10**9", b"")}, "not a complete"),
    "no dtype": ({**FIVE, "t": npy(described("('<i8', (1 << 40,))", "(5,)"), b"")}, "not a complete"),
    "an object": ({**FIVE, "t": npy(described("'|O'", "(5,)"), b"cos\nsystem\n(S'true'\ntR.")}, "never read"),
    "an object in a record": ({"e": npy(described(RECORD.replace("|V{}", "|O"), "(5,)"), bytes(105))}, "never read"),
    "no header": ({**FIVE, "t": b""}, "not a complete"),
    "another version": ({**FIVE, "t": npy(described("'<i8'", "(5,)"), bytes(40), 3)}, "version"),
    "bytes after the array": ({**FIVE, "t": FIVE["t"] + bytes(9)}, "promises"),
    "a thousand arrays": ({f"a{i}\033[2J": b"" for i in range(1000)}, "holds the arrays"),
}  # fmt: skip


@pytest.mark.parametrize("lie", sorted(LIES))
def test_an_array_that_lies_is_refused_before_it_is_unpacked(lie: str, tmp_path: Path) -> None:
    members, reason = LIES[lie]
    assert reason in refused(npz_of(tmp_path / "a.npz", members))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_array_that_numpy_would_not_pack_so_is_refused(method: int, tmp_path: Path) -> None:
    assert "is packed with method" in refused(npz_of(tmp_path / "a.npz", FIVE, method))


def test_a_directory_that_claims_more_than_the_bytes_can_hold_is_refused(tmp_path: Path) -> None:
    rows, body = 1 << 28, np.random.default_rng(0).bytes(100_000)
    members = {name: npy(described("'<i8'", f"({rows},)"), body) for name in "txyp"}
    data = bytearray(npz_of(tmp_path / "a.npz", members).read_bytes())
    at = -1
    while (at := data.find(b"PK\x01\x02", at + 1)) >= 0:  # the unpacked size in each entry of the directory
        data[at + 24 : at + 28] = struct.pack("<I", len(members["t"]) - len(body) + 8 * rows)
    (tmp_path / "a.npz").write_bytes(data)
    assert "promises" in refused(tmp_path / "a.npz")


def test_a_zip_whose_directory_has_no_end_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for number in range(1_100):
            archive.writestr(f"{'n' * 4000}{number}", b"")
    assert "not a complete .npz file: a directory of" in refused(tmp_path / "a.npz")


def test_a_packed_array_is_read_in_pieces_of_bounded_bytes(tmp_path: Path) -> None:
    """200 kB that hold 200 MB: entries may be a kB wide, and a piece of them is a MB all the same."""
    count, wide = 200_000, 987
    record = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "?"), ("q", f"V{wide}")])
    with (
        zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("events.npy", "w") as member,
    ):
        member.write(npy(described(RECORD.format(wide), f"({count},)"), b""))
        for _ in range(count // 2000):
            member.write(bytes(2000 * record.itemsize))
    with in_memory(LITTLE):
        source = open_source(str(tmp_path / "a.npz"), sensor=(34, 34))
        assert sum(map(len, source.packets())) == count


def test_times_beyond_int64_are_invalid_and_not_other_times(tmp_path: Path) -> None:
    t = np.array([1, 2**64 - 5, 2**63, 2**61, 7], np.uint64)
    np.savez(tmp_path / "a.npz", t=t, x=np.ones(5, int), y=np.ones(5, int), p=np.ones(5, int))
    source = open_source(str(tmp_path / "a.npz"))
    assert np.concatenate(list(source.packets()))["t"].tolist() == [1, 7]
    assert source.invalid == 3 and "3 events with an impossible time" in source.notes[0]


# --- other limits ---------------------------------------------------------------------------------------------------------


def test_a_sample_of_a_data_set_has_a_largest_number_of_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.core.data.dataset.MOST_EVENTS", 1000)
    write = next(write for name, (write, _) in READ.items() if name != "nmnist")
    for number, count in enumerate((1000, 1001)):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{number}.raw").write_bytes(write(some_events(count)))
    data = open_dataset(f"folder:{tmp_path}", framing="count:T=4", shape=(2, 34, 34))
    assert data.sample(0).sum() == 1000
    with pytest.raises(PlifError, match=r"1.raw: more than 1000 events, too many for one sample"):
        data.sample(1)


def test_the_frames_of_a_recording_have_a_largest_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.core.events.whole.FRAMES_BYTES", 100 * 4 * 2 * 34 * 34)
    events = make_events([0, 99_999], [1, 1], [1, 1], [True, True])
    assert len(make_frames(events, "duration:1ms", (2, 34, 34), (34, 34))) == 100
    for framing in ("duration:999us", "duration:1us", "count:T=101", "duration:1ms,T=1000"):
        with pytest.raises(PlifError, match=r"makes more than 100 frames"):
            make_frames(events, framing, (2, 34, 34), (34, 34))


@pytest.mark.parametrize("name", ["digits:" + "9" * 5000, "sim:dvs128-gesture?gesture=" + "9" * 5000])
def test_a_number_of_any_length_in_a_name_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(PlifError) as caught:
        open_source(name) if name.startswith("sim:") else open_dataset(name, framing="count:T=4")
    assert str(caught.value).isprintable()


def test_the_number_of_a_recording_in_an_archive_has_any_length(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Test.zip", "w") as archive:
        archive.writestr(f"Test/7/{'1' * 5000}.bin", bytes(50))
    with pytest.raises(PlifError, match="expected a number as its name"):
        open_dataset(f"nmnist:{tmp_path}", framing="count:T=4")


def test_a_truncated_npz_is_one_line_at_every_length(tmp_path: Path) -> None:
    out = io.BytesIO()
    events = some_events(300)
    np.savez_compressed(out, t=events["t"], x=events["x"], y=events["y"], p=events["p"])
    data = out.getvalue()
    path = tmp_path / "a.npz"
    for size in [*range(8, 200), *range(200, len(data), 7)]:
        path.write_bytes(data[:size])
        with pytest.raises(PlifError) as caught:
            read_events(path)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_archive_of_a_data_set_is_one_line_wherever_the_damage_is(method: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Test.zip", "w", method) as archive:
        archive.writestr("é.txt", b"")
        archive.writestr("Test/7/1.bin", nmnist_bytes(some_events(20)))
    data = (tmp_path / "Test.zip").read_bytes()
    read = 0
    for at in range(0, len(data), 3):
        (tmp_path / "Test.zip").write_bytes(data[:at] + bytes([data[at] ^ 0xB2]) + data[at + 1 :])
        _open_cached.cache_clear()
        try:
            opened = open_dataset(f"nmnist:{tmp_path}", framing="count:T=4")
            read += opened.sample(0).sum() > 0
        except PlifError as error:
            assert str(error).isprintable()
    assert 0 < read < len(data) // 3


def test_a_picture_that_claims_to_be_huge_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="folders of images need Pillow")
    for side in (5000, 100_000):
        head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + bytes(20)
        (tmp_path / "a.png").write_bytes(png)
        with in_memory(LITTLE), pytest.raises(PlifError, match=r"a.png: ") as caught:
            ImageDecoder().read(tmp_path / "a.png")
        assert str(caught.value).isprintable()
