"""Real recordings: every decoded field, by hash. The counts are those of the recordings' own description."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from runtime.core.events import events_sha256, format_names, open_source, read_events
from runtime.core.events.formats import base
from runtime.core.parts import find_parts
from runtime.core.stream.source_framer import SourceFramer
from tests.recorded import CLIPS, DIGITS, SHARED, SHIPPED, real_or_shipped, unpack_digits

# file: (format, sensor, events, invalid, SHA-256 of the decoded fields)
RECORDINGS = {
    "aedat31_micro/a.aedat": (
        "aedat31",
        (128, 128),
        12,
        0,
        "4e5625b65544970fc889250f100d7ec24aad64e7d11bdf3ca809bb5d5279d53b",
    ),
    "aedat31_micro/b.aedat": (
        "aedat31",
        (128, 128),
        18,
        0,
        "054fb2c0c0720bec4a03b91cd736414f09093ec79cbdfec06233e5b36c3214c5",
    ),
    "aedat31_micro/c.aedat": (
        "aedat31",
        (128, 128),
        5,
        0,
        "cd9b7150f2d3fc827d5221f167a71d294ae3a17d6c467bc691e461df100715e8",
    ),
    "dvs128_gesture_clips/0_hand_clapping.bs2": (
        "nmnist",
        (128, 128),
        63_471,
        0,
        "4d954989617a406d62dbdd7b052adeecb38009647e9d2f8993d8f3bea9792dd4",
    ),
    "dvs128_gesture_clips/1_right_hand_wave.bs2": (
        "nmnist",
        (128, 128),
        84_260,
        0,
        "5eefff3006667270bff06bd83a664304936efa769b737619632933717f2e82db",
    ),
    "dvs128_gesture_clips/2_left_hand_wave.bs2": (
        "nmnist",
        (128, 128),
        113_063,
        0,
        "5e56a1003b35b493c78abf0dcd08357cbd348d2bf38406cfdb669cdfeb303ce0",
    ),
    "dvs128_gesture_clips/3_right_arm_clockwise.bs2": (
        "nmnist",
        (128, 128),
        151_879,
        0,
        "caac8722c7d2d6010be2b897dd22352f35fd1b0880de16364a587b7acaf1c4ae",
    ),
    "dvs128_gesture_clips/7_arm_roll.bs2": (
        "nmnist",
        (128, 128),
        101_288,
        0,
        "ed8549043d7fd9b160f2cc419bd0627381e37d49dbde2678097ccc35219d5ed4",
    ),
    "dvs128_gesture_clips/8_air_drums.bs2": (
        "nmnist",
        (128, 128),
        141_773,
        0,
        "6639e4c0978e1f15a89eeb0283f400f5a747e773176feabfb09bae46daa55c51",
    ),
    "recordings/alex_walking_again.aedat": (
        "aedat2",
        (128, 128),
        19_182,
        0,
        "2f7e1cdac01422e309f2ff558583f5101bbdf82c4f90b22aa83e55dce9894800",
    ),
    "recordings/alex_walking_for_10secs.aedat": (
        "aedat2",
        (128, 128),
        125_028,
        0,
        "434641374f7c3dcd685ead0dfb8707f932b403db09b9a96902cd023dc55cad23",
    ),
    "recordings/atis_320x240_1s.es": (
        "es",
        (320, 240),
        473_225,
        0,
        "affde73310eac197c9a137d21181e9e777a058bf814c9cd83e72eb857af879ea",
    ),
    "recordings/cam255_alex_standing_up.aedat": (
        "aedat2",
        (128, 128),
        290_292,
        0,
        "4ddf83741410b295ad9c5af808c712797274ffc5f0764f5e63c6c0177b2b6c54",
    ),
    "recordings/cam289_right_clamp_test1.aedat": (
        "aedat2",
        (128, 128),
        336_913,
        0,
        "6570910dc9fe8ac7fb984796a78ceb7f5fe9a25dbbd85f8ef4da27887f6a645b",
    ),
    "recordings/cam300_fix_lense_alex_standing_up.aedat": (
        "aedat2",
        (128, 128),
        155_766,
        0,
        "ffe67369435cf957683e61c81deaaa2c89cb68e6345b8be41fbd21675353b1e9",
    ),
    "recordings/davis346_346x260_0p13s.aedat4": (
        "aedat4",
        (346, 260),
        117_667,
        0,
        "78a5f729b77bd19c48c37ab5d1ec841b51db51896c5d673eaf638124498045e1",
    ),
    "recordings/gen41_1280x720_evt3.raw": (
        "evt3",
        (1280, 720),
        219_596,
        0,
        "22f2aebe16606074d83e874308b805447715f03171dfe66fdf607531415fe52e",
    ),
    "recordings/genx320_320x320_clock_faults_evt2.raw": (
        "evt2",
        (320, 320),
        741_257,
        9,
        "01ca89a41627b2b8e9125af7d4283fdd375abf968f97cf0a6beb81146e9d50a6",
    ),
    "recordings/ncars_sample.dat": (
        "dat",
        (128, 128),
        2_009,
        0,
        "46329bef9cd1e18a46d3e99523ef34b6d6a2b1aacb7b158215d56c381e17b22e",
    ),
    "recordings/neal_walking.aedat": (
        "aedat2",
        (128, 128),
        70_304,
        0,
        "0a62a933996a63c63afe7f8aa9c8060ea71adf657da7dabd96a20bea48421be8",
    ),
}

# of the real digits that ship: SHA-256 of the decoded fields, one after the other by path, and events
REAL_DIGITS = ("f34b47b4a36e8d90a6b47478d9467980a862e0cbd47ec0c324bd4d23d9d3d342", 627_530)
DIGIT = "ec3263bcf075c4ee119813240c30ed1499b6dbdcff34ec9a9018f78bc73adce4"
SHIPPED_SENSORS = {  # what tells of a file that ships: (format, sensor)
    "aedat2.aedat": ("aedat2", (128, 128)),
    "aedat31.aedat": ("aedat31", (128, 128)),
    "aedat4.aedat4": ("aedat4", (34, 34)),
    "atis.es": ("es", (128, 128)),
    "csv.csv": ("csv", (34, 34)),
    "dat.dat": ("dat", (304, 240)),
    "es.es": ("es", (128, 128)),
    "evt2.raw": ("evt2", (640, 480)),
    "evt21.raw": ("evt21", (640, 480)),
    "evt3.raw": ("evt3", (1280, 720)),
    "hdf5.h5": ("hdf5", (34, 34)),
    "mcap.mcap": ("rosbag", (34, 34)),
    "nmnist.bin": ("nmnist", (34, 34)),
    "npy.npy": ("npy", (34, 34)),
    "npz.npz": ("npz", (34, 34)),
    "ros1.bag": ("rosbag", (34, 34)),
    "ros2.db3": ("rosbag", (34, 34)),
}
RECORDINGS |= {f"shipped/{name}": (*known, 2500, 0, DIGIT) for name, known in SHIPPED_SENSORS.items()}
LIBRARIES = {"aedat4": "aedat", "hdf5": "h5py", "rosbag": "rosbags"}  # a format -> what reads it


def here(name: str) -> bool:
    """Whether a recording of the table is on this machine, as real ones may not be published, and its format is read."""
    published = name.startswith(("shipped/", "dvs128_gesture_clips/"))
    return RECORDINGS[name][0] in format_names() and (published or (SHARED / name).is_file())


@pytest.fixture(params=[name for name in sorted(RECORDINGS) if here(name)])
def recording(request: pytest.FixtureRequest, clips: Path) -> Path:
    if library := LIBRARIES.get(RECORDINGS[request.param][0]):
        pytest.importorskip(library)
    folder, _, name = request.param.partition("/")
    return {"shipped": SHIPPED, "dvs128_gesture_clips": clips}.get(folder, SHARED / folder) / name


def _row(path: Path) -> tuple[str, tuple[int, int], int, int, str]:
    folder = "shipped" if path.parent == SHIPPED else path.parent.name
    return RECORDINGS[f"{folder}/{path.name}"]


def test_every_recording_that_ships_or_is_on_this_machine_stands_in_the_table() -> None:
    assert sorted(path.name for path in SHIPPED.iterdir()) == sorted(SHIPPED_SENSORS)
    if SHARED.is_dir():
        found = {f"recordings/{path.name}" for path in (SHARED / "recordings").iterdir()}
        assert {name for name in RECORDINGS if name.startswith("recordings/")} == found
    assert {known[0] for known in SHIPPED_SENSORS.values()} >= set(format_names())  # each format that is read


@pytest.mark.parametrize("name", SHIPPED_SENSORS)
def test_no_two_formats_take_the_same_recording(name: str) -> None:
    """Those with a mark by it; of the others those that are asked for what has none."""
    path = SHIPPED / name
    head = path.read_bytes()[: base.HEAD_BYTES]
    parts = find_parts("formats").values()
    marked = [part for part in parts if (head.startswith(part.magic) if part.magic else part.last)]
    taken = [part.name for part in marked if not part.last or part.load("FORMAT").matches(head, path)]
    assert len(taken) == (SHIPPED_SENSORS[name][0] in format_names() and name != "nmnist.bin")


def test_what_ships_has_the_sums_that_its_readme_gives(clips: Path) -> None:
    data = SHIPPED.parent
    sums = dict(
        reversed(line) for line in map(str.split, (data / "README.md").read_text().splitlines()) if len(line) == 2
    )
    for path in (CLIPS, DIGITS, *SHIPPED.iterdir(), *clips.iterdir()):
        name = f"dvs128_gesture_clips/{path.name}" if path.parent == clips else str(path.relative_to(data))
        assert sums.pop(name) == hashlib.sha256(path.read_bytes()).hexdigest(), name


def test_the_digits_that_ship_decode_to_one_hash_and_are_the_first_of_the_set(tmp_path: Path, nmnist: Path) -> None:
    folder = unpack_digits(tmp_path)
    assert "CC BY-SA 4.0" in (folder / "LICENSE.txt").read_text()
    paths = sorted(folder.glob("*/*/*.bin"))
    assert [len(list(folder.glob(f"{split}/*/*.bin"))) for split in ("Test", "Train")] == [100, 60]
    assert sorted(int(path.stem) for path in folder.glob("Test/*/*.bin")) == list(range(1, 101))
    decoded = [read_events(path, sensor=(34, 34)) for path in paths]
    assert (events_sha256(np.concatenate(decoded)), sum(map(len, decoded))) == REAL_DIGITS
    assert all((nmnist / path.relative_to(folder)).read_bytes() == path.read_bytes() for path in paths)


def test_each_recording_decodes_to_the_hash_in_the_table(recording: Path) -> None:
    format_name, sensor, events, invalid, digest = _row(recording)
    source = open_source(str(recording))
    decoded = np.concatenate(list(source.packets()))
    assert (source.format, source.sensor, len(decoded), source.invalid) == (format_name, sensor, events, invalid)
    assert source.count() == events
    assert events_sha256(decoded) == digest
    assert bool(source.notes) == (invalid > 0 or recording.parent.name == "aedat31_micro")


@pytest.mark.one_in(3)
@pytest.mark.parametrize("max_events", [7, 1000, 1 << 30])
def test_the_size_of_packets_changes_nothing(recording: Path, max_events: int) -> None:
    source = open_source(str(recording))
    packets = list(source.packets(max_events))
    assert max(len(packet) for packet in packets) <= max_events
    assert events_sha256(np.concatenate(packets)) == _row(recording)[4]


def test_packets_of_one_event_are_the_same_events() -> None:
    path = real_or_shipped("ncars_sample.dat", "dat.dat")
    packets = list(open_source(str(path)).packets(1))
    assert len(packets) == _row(path)[2] > 2000
    assert events_sha256(np.concatenate(packets)) == _row(path)[4]


def test_small_backward_steps_do_not_stretch_a_gen41_recording(shared_data: Path) -> None:
    t = read_events(shared_data / "recordings" / "gen41_1280x720_evt3.raw")["t"]
    assert int(t.max() - t.min()) == 8801


def test_the_clock_faults_of_the_genx320_link_are_kept_as_they_are(shared_data: Path) -> None:
    t = read_events(shared_data / "recordings" / "genx320_320x320_clock_faults_evt2.raw")["t"]
    assert int((np.diff(t) < 0).sum()) == 1260
    assert 22.3e6 < int(np.diff(t).max()) < 22.4e6


@pytest.mark.one_in(3)
@pytest.mark.parametrize("framing", ["count:T=16", "duration:10ms", "duration:50ms,T=16", "events:n=5000,max=20ms"])
def test_every_event_of_every_recording_is_accounted_for(recording: Path, framing: str) -> None:
    source = open_source(str(recording))
    frames = SourceFramer(source, framing, (2, 32, 32))
    in_frames = 0
    for frame in frames:
        assert frames.account.waiting == frame.events + frames.framer.time_state.waiting
        frames.account.add(used=frame.events)
        in_frames += frame.events
        assert frame.x.sum() == frame.events or "T=16" in framing  # a repeated frame shows events counted before
    account = frames.account
    assert account.waiting == 0
    assert account.events_in == source.count() + source.invalid
    assert account.used == in_frames


def test_the_gaps_of_the_genx320_recording_are_discontinuities_and_not_empty_frames(shared_data: Path) -> None:
    source = open_source(str(shared_data / "recordings" / "genx320_320x320_clock_faults_evt2.raw"))
    frames = SourceFramer(source, "duration:10ms", (2, 32, 32))
    made = list(frames)
    marked = [frame for frame in made if frame.discontinuity]
    assert len(marked) == 2
    assert frames.framer.time_state.gaps == 2
    account = frames.account
    assert (account.late, account.invalid, account.waiting) == (3, 9, 741254)
    assert sum(frame.events for frame in made) == 741254
