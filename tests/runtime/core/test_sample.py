"""A recording that is read, decoded and framed by one call of native code: the same frames as in Python, or none at all."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from runtime.core.data import open_dataset
from runtime.core.data.dataset import read_recording
from runtime.core.events import frame_and_count, read_frames, write_nmnist
from runtime.core.events.framing import Framing
from runtime.datasets.digits.drawing import draw_digit
from runtime.datasets.digits.saccades import record_digit

SHAPE, SENSOR = (2, 34, 34), (34, 34)
COUNT = Framing.parse("count:T=10")
FRAMINGS = (
    *("count:T=10", "count:T=4000", "time:T=7", "time:T=3,value=binary", "duration:10ms,T=16", "duration:10ms,T=90"),
    *("duration:30ms,T=40,pad=zero", "duration:40ms,every=10ms,T=20", "events:n=300,max=20ms"),
    *("count:T=3,orientation=sj,polarity=swapped", "count:T=3,orientation=upright", "count:T=3,orientation=paper"),
    *("duration:10ms,T=9,resize=nearest", "count:T=4,resize=crop,shape=square"),
)


@pytest.fixture(scope="module")
def digit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    path = tmp_path_factory.mktemp("sample") / "3.bin"
    write_nmnist(path, record_digit(draw_digit(3, rng), rng))
    return path


def in_python(
    path: Path, framing: Framing, shape: tuple[int, int, int]
) -> tuple[np.ndarray, int, tuple[int, int, int, int]]:
    one = read_recording(path, str(path), SENSOR)
    frames, account = frame_and_count(one.events, framing, shape, one.sensor, one.upright)
    assert account.waiting == 0 and one.invalid == account.invalid == account.late == 0
    t, on = one.events["t"], int(one.events["p"].sum())
    return frames, len(t), (account.used, on, int(t[-1] - t[0]), account.not_shown)


@pytest.mark.parametrize("shape", (SHAPE, (1, 34, 34), (2, 16, 20)))
@pytest.mark.parametrize("text", FRAMINGS)
def test_the_frames_are_those_of_python(text: str, shape: tuple[int, int, int], digit: Path) -> None:
    framing = Framing.parse(text)
    found = read_frames(str(digit), framing, shape, SENSOR)
    if framing.T is None:
        assert found is None, "nobody knows how many frames there will be"
        return
    frames, *counts = in_python(digit, framing, shape)
    assert found is not None and [*found[1:]] == counts
    np.testing.assert_array_equal(found[0], frames)


def test_frames_go_where_they_are_wanted_and_nowhere_else(digit: Path) -> None:
    together = np.full((10, 3, *SHAPE), -1, np.float32)
    found = read_frames(str(digit), COUNT, SHAPE, SENSOR, together[:, 1])
    assert found is not None
    np.testing.assert_array_equal(together[:, 1], in_python(digit, COUNT, SHAPE)[0])
    assert (together[:, (0, 2)] == -1).all()


def test_what_leaves_a_question_is_left_to_python(digit: Path, tmp_path: Path) -> None:
    words = np.frombuffer(digit.read_bytes(), np.uint8).reshape(-1, 5)

    def changed(at: int, field: int, value: int) -> bytes:
        copy = words.copy()
        copy[at, field] = value
        return copy.tobytes()

    contents = {
        "cut": words.tobytes()[:-1],
        "empty": b"",
        "column": changed(7, 0, 34),
        "row": changed(7, 1, 34),
        "marker": changed(7, 1, 240),
        "back": changed(7, 4, 0) if words[6, 4] else changed(7, 3, 255),
        "jump": changed(len(words) - 1, 2, 0x7F),
        "one time": words[:1].tobytes() * 20,
    }
    for name, content in contents.items():
        path = tmp_path / f"{name}.bin"
        path.write_bytes(content)
        assert read_frames(str(path), COUNT, SHAPE, SENSOR) is None, name
    tall = (304, 260)  # where the row of a marker could be one of the sensor's
    assert read_frames(str(tmp_path / "marker.bin"), COUNT, SHAPE, tall) is None
    assert read_frames(str(digit), COUNT, SHAPE, tall) is not None
    other = tmp_path / "3.raw"
    other.write_bytes(words.tobytes())
    os.mkfifo(tmp_path / "pipe.bin")
    (tmp_path / "folder.bin").mkdir()
    for path in (other, tmp_path / "pipe.bin", tmp_path / "folder.bin", tmp_path / "none.bin"):
        assert read_frames(str(path), COUNT, SHAPE, SENSOR) is None, path
    assert read_frames(str(digit), COUNT, SHAPE, None) is None
    assert read_frames(str(digit), COUNT, SHAPE, (20, 34)) is None


def test_a_data_set_reads_its_recordings_so(digit: Path, tmp_path: Path) -> None:
    (tmp_path / "Test" / "3").mkdir(parents=True)
    (tmp_path / "Test" / "3" / "3.bin").hardlink_to(digit)
    dataset = open_dataset(f"nmnist:{tmp_path}", framing=COUNT, shape=SHAPE)
    assert dataset.read_frames_native(0) is not None  # type: ignore[attr-defined]
    np.testing.assert_array_equal(dataset.sample(0), in_python(digit, COUNT, SHAPE)[0])
