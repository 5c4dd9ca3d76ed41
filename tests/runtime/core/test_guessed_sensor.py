"""A recording that does not say its sensor: the guess is robust, and it is never silent."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from runtime.core.api import load
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.data import open_dataset
from runtime.core.events import open_source, read_events, write_nmnist
from runtime.core.events.size import guess_sensor
from tests.recordings import csv_bytes, some_events

FRAMING = "count:T=4"


def write(path: Path, width: int = 128, height: int = 128, seed: int = 0, stray: int = 0, count: int = 2000) -> Path:
    """A recording of a 128x128 sensor, of which the first `stray` events have one bit of x flipped: x + 128."""
    events = some_events(count, seed, width, height)
    events["x"][:stray] |= 128
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nmnist(path, events)
    return path


def test_one_flipped_bit_does_not_change_the_guess_and_is_one_invalid_event(tmp_path: Path) -> None:
    whole, damaged = (open_source(str(write(tmp_path / f"{n}.bs2", stray=n))) for n in (0, 1))
    events = [np.concatenate(list(source.packets())) for source in (whole, damaged)]
    assert whole.sensor == damaged.sensor == (128, 128)
    assert np.array_equal(events[0][1:], events[1]) and (whole.invalid, damaged.invalid) == (0, 1)
    assert whole.sensor_from == damaged.sensor_from == "guess"
    assert "holds all of its events" in whole.guesses[0] and "holds all but 1 of its events" in damaged.guesses[0]
    assert open_source(str(tmp_path / "1.bs2"), sensor=(240, 180)).invalid == 0


def test_where_some_events_lie_outside_the_size_is_asked_for_and_where_many_do_the_larger_is_taken(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.bs2", stray=20)
    with pytest.raises(PlifError, match=r"20 of 2000 events lie outside 128x128.*--sensor 128x128"):
        open_source(str(path))
    assert len(read_events(path, sensor=(128, 128))) == 1980 and len(read_events(path, sensor=(304, 240))) == 2000
    assert open_source(str(write(tmp_path / "b.bs2", width=240))).sensor == (240, 180)


@pytest.mark.parametrize("size", [1, 7, 300])
def test_the_guess_is_the_same_however_the_events_are_cut(size: int) -> None:
    events = some_events(2500, width=128, height=128)
    events["x"][[3, 2000]] = 60_000
    assert guess_sensor("a", [events[i : i + size] for i in range(0, 2500, size)]) == ((128, 128), 2)


def test_the_summary_of_a_stream_says_the_size_who_said_it_and_that_a_guess_is_unlikely(
    digits_onnx: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(csv_bytes(some_events(500, width=200, height=100)))
    model, found = load(digits_onnx), {}
    for sensor in (None, (240, 180)):
        running = model.stream(str(path), sensor=sensor, framing="duration:100ms")
        list(running)
        found[sensor] = running.summary()
    assert (found[None]["sensor"], found[None]["sensor_from"]) == ([240, 180], "guess")
    assert len([note for note in found[None]["notes"] if "is a guess" in note]) == 1
    (why,) = found[None]["fit"]["why"]
    assert "not as wide for its height" in why and found[240, 180]["fit"]["fits"] is None
    assert (found[240, 180]["sensor"], found[240, 180]["sensor_from"], found[240, 180]["notes"]) == (
        [240, 180],
        "asked",
        [],
    )


# --- folders ----------------------------------------------------------------------------------------------------------


def caught(spec: str) -> tuple[set[tuple[int, int]], tuple[int, int] | None, list[str]]:
    """The sensors of a folder's recordings; that of a network trained on them; and the warnings."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        data = open_dataset(spec, framing=FRAMING, shape=(2, 34, 34))
        sizes = {data.recording(i)[1] for i in range(len(data))}  # type: ignore[attr-defined]
        common = data.common_sensor  # type: ignore[attr-defined]
    assert all(one.category is PlifWarning for one in found)
    return sizes, common, [str(one.message) for one in found]


def test_recordings_of_a_folder_are_guessed_one_by_one_and_together_for_a_training(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.bin", 34, 34)
    write(tmp_path / "b" / "1.bin", 34, 34)
    sizes, common, said = caught(f"folder:{tmp_path}")
    assert sizes == {(34, 34)} and common == (34, 34) and len(said) == 1 and "34x34 is a guess for all" in said[0]
    write(tmp_path / "b" / "2.bin", 100, 100)
    sizes, common, said = caught(f"folder:{tmp_path}")
    assert sizes == {(34, 34), (128, 128)} and common == (128, 128)
    assert "34x34 (1.bin), 128x128 (2.bin)" in said[0] and "128x128 is a guess for all" in said[1]


def test_both_splits_of_a_folder_have_the_same_sensor_in_a_training(tmp_path: Path) -> None:
    write(tmp_path / "train" / "a" / "1.bin", 100, 100)
    write(tmp_path / "test" / "a" / "1.bin", 34, 34)
    assert caught(f"folder:{tmp_path}")[:2] == ({(34, 34)}, (128, 128))


def test_the_sensor_of_a_folder_can_be_said_in_the_spec_and_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "a" / "1.bin", 34, 34)
    assert caught(f"folder:{tmp_path}?sensor=346x260") == ({(346, 260)}, (346, 260), [])
    (tmp_path / "sensor.txt").write_text("304x240\n")
    assert caught(f"folder:{tmp_path}") == ({(304, 240)}, (304, 240), [])
    assert caught(f"folder:{tmp_path}?sensor=346x260") == ({(346, 260)}, (346, 260), [])
    (tmp_path / "sensor.txt").write_text("big\n")
    with pytest.raises(PlifError, match=r"sensor.txt: 'big': expected WIDTHxHEIGHT"):
        open_dataset(f"folder:{tmp_path}", framing=FRAMING)
    for wrong in ("sensor=", "sensor=3", "size=3x3", "sensor=3x3&sensor=3x3"):
        with pytest.raises(PlifError, match=r"sensor=|WIDTH"):
            open_dataset(f"folder:{tmp_path}?{wrong}", framing=FRAMING)
