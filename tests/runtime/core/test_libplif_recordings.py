"""libplif reads the recordings that need no library as the runtime reads them: every event, the sensor, how it stands."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.events import open_source
from runtime.core.events.formats import open_recording
from runtime.core.events.formats.base import Losses
from tests.libplif import CRecording, error, library
from tests.recorded import SHIPPED
from tests.recordings import (
    AEDAT31_HEADER,
    DAT_HEADER,
    WRITERS,
    aedat31_packet,
    evt2_bytes,
    nmnist_bytes,
    some_events,
)

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)
UPRIGHT = ("identity", "rotate180", "flip_y")
FORMATS = ("nmnist", "evt2", "evt21", "evt3", "dat", "aedat2", "aedat31")
REAL = (
    "aedat31_micro/*.aedat",
    "recordings/*.aedat",
    "recordings/*.raw",
    "recordings/*.dat",
)


def same(path: Path) -> int:
    """How many events there are, of which C gives every one, of a file as of its bytes, and what a session has to know."""
    return {same_from(path, from_memory) for from_memory in (False, True)}.pop()


def same_from(path: Path, from_memory: bool) -> int:
    recording, source = CRecording(path, from_memory), open_source(str(path))
    expected = np.concatenate([events.copy() for events in open_recording(path).decode(Losses())])
    assert np.array_equal(recording.events(), expected), path
    said, inside = recording.describe(), np.concatenate([packet.copy() for packet in source.packets()])
    assert (said.sensor_width, said.sensor_height) == source.sensor and UPRIGHT[said.upright] == source.upright, path
    extent = (len(inside), int(inside["t"][0]), int(inside["t"][-1]))
    assert (said.total_events, said.first_us, said.last_us) == extent, path
    assert np.array_equal(recording.events(777), expected), path  # after what describes it, from the beginning
    recording.close()
    return len(expected)


@pytest.mark.parametrize("name", FORMATS)
def test_every_event_is_that_of_the_runtime(name: str, tmp_path: Path) -> None:
    write, suffix = WRITERS[name]
    for i, events in enumerate((some_events(9000, 1), some_events(300, 2, 120, 100), some_events(1, 3))):
        (tmp_path / f"{i}{suffix}").write_bytes(write(events))
        assert same(tmp_path / f"{i}{suffix}") == len(events)


def test_recordings_that_ship_are_read_as_by_the_runtime(clips: Path, nmnist: Path) -> None:
    (path,) = clips.glob("0*")
    assert same(path) > 60_000
    digits = sorted(nmnist.glob("Test/*/*.bin"))[::40]
    assert len(digits) == 3 and min(map(same, digits)) > 1000
    for name in FORMATS:
        (path,) = SHIPPED.glob(f"{name}.*")
        assert same(path) == 2500


@pytest.mark.parametrize("files", REAL)
def test_real_recordings_are_read_as_by_the_runtime(files: str, shared_data: Path) -> None:
    paths = sorted(shared_data.glob(files))
    assert paths and sum(map(same, paths)) > 10


def test_clocks_that_start_again_packets_and_bits_that_are_not_set(tmp_path: Path) -> None:
    wraps = some_events(2000, 4, last_us=40_000_000_000)  # past 2^34 and 2^32 us
    long = b"% evt 2.0\n% geometry 640x480\n% remark " + b"x" * 9000 + b"\n% end\n"
    (tmp_path / "wraps.raw").write_bytes(evt2_bytes(wraps, long))
    one, other = some_events(50, 5), some_events(60, 6)
    packets = aedat31_packet(one, capacity=80), aedat31_packet(one, kind=2), aedat31_packet(other, overflow=3)
    cut = aedat31_packet(other)[:200]
    (tmp_path / "packets.aedat").write_bytes(AEDAT31_HEADER + b"".join(packets) + aedat31_packet(one, valid=0) + cut)
    unset = bytearray(aedat31_packet(one, valid=0))
    unset[24:28] = len(one).to_bytes(4, "little")
    (tmp_path / "unset.aedat").write_bytes(AEDAT31_HEADER + bytes(unset))
    markers = bytes([0, 240, 0, 0, 0]) * 3
    (tmp_path / "markers.bin").write_bytes(nmnist_bytes(one) + markers + nmnist_bytes(other))
    for path in sorted(tmp_path.iterdir()):
        assert same(path) > 20


def test_what_is_no_recording_is_said_in_one_line(tmp_path: Path) -> None:
    for name, content, why in (
        ("notes.txt", b"hello", "no recording that this library reads: EVT 2.0, 2.1 and 3.0"),
        ("a.raw", b"% evt 4.0\n% end\nxxxx", "EVT 4.0; this library reads"),
        ("b.raw", b"% evt 2.1\n% endianness=legacy\n% end\nxxxx", "endianness=legacy"),
        ("c.dat", DAT_HEADER + b"\x07\x08", "no recording that this library reads"),
        ("d.dat", DAT_HEADER + b"\x0c\x08", "holds a header and no events"),
        ("e.aedat", b"#!AER-DAT3.1\r\n#Source 1: DVS128\r\n", "does not end with #!END-HEADER"),
        ("f.aedat", b"#!AER-DAT2.0\r\n# AEChip: eu.seebetter.ini.chips.davis.DAVIS240C\r\n", "of another chip"),
        ("g.bin", b"", "the file is empty"),
        ("h.raw", b"% " + b"x" * 2_000_000, "the file ends inside its header"),
    ):
        (tmp_path / name).write_bytes(content)
        for from_memory in (False, True):
            with pytest.raises(PlifError, match=why) as refused:
                CRecording(tmp_path / name, from_memory)
            assert str(tmp_path / name) in str(refused.value) and "\n" not in str(refused.value)
    with pytest.raises(PlifError, match="no such file"):
        CRecording(tmp_path)
    assert not library().plif_recording_open_buffer(None, 5, b"a.bin") and "are needed" in error()


@pytest.mark.parametrize("name", FORMATS)
def test_bytes_that_were_changed_give_what_the_runtime_gives_or_a_refusal(name: str, tmp_path: Path) -> None:
    write, suffix = WRITERS[name]
    whole, rng, path, read = write(some_events(400, 7)), np.random.default_rng(8), tmp_path / f"m{suffix}", 0
    for turn in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(max(0, len(whole) - 3000), len(whole), 4):
            damaged[at] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(damaged) // 2, len(damaged))])
        try:
            recording = CRecording(path, from_memory=turn % 2 == 1)
        except PlifError:
            continue
        found = recording.events()
        expected = np.concatenate([events.copy() for events in open_recording(path).decode(Losses())])
        assert np.array_equal(found, expected)
        recording.close()
        read += 1
    assert read > 20
