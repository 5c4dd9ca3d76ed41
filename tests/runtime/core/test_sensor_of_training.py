"""A recording that does not say its sensor is read as one of the network's training, where that holds its events, with a note."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import plif_train
from plif_export import export
from runtime.core.api import Model, load
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.cli.main import run
from runtime.core.data import add_options, open_dataset
from runtime.core.events import write_nmnist
from runtime.core.model.card import read_card
from tests.networks import firing
from tests.recordings import evt3_bytes, some_events

SENSOR = (128, 128)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    net = firing("c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", (2, 32, 32), framing="duration:100ms", sensor=SENSOR)
    return load(export(net, tmp_path_factory.mktemp("trained") / "m.onnx").path)


def summary(model: Model, path: Path, **options: Any) -> dict[str, Any]:
    running = model.stream(str(path), **options)
    list(running)
    return running.summary()


def write(path: Path, width: int, height: int, stray: int = 0) -> Path:
    events = some_events(2000, width=width, height=height)
    events["x"][:stray] |= 128
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nmnist(path, events)
    return path


def test_the_card_has_the_sensor_and_it_is_taken_for_smaller_recordings_and_damaged_ones(
    model: Model, tmp_path: Path
) -> None:
    assert model.card["sensor"] == list(SENSOR)
    small = summary(model, write(tmp_path / "small.bin", 34, 34))  # which would be guessed as 34x34
    assert (small["sensor"], small["sensor_from"], small["events_invalid"]) == ([128, 128], "model", 0)
    assert len([note for note in small["notes"] if "as of the network's training" in note]) == 1
    damaged = summary(model, write(tmp_path / "damaged.bin", 128, 128, stray=1))
    assert (damaged["sensor"], damaged["sensor_from"], damaged["events_invalid"]) == ([128, 128], "model", 1)


def test_a_recording_of_a_larger_sensor_is_a_guess_and_unlikely_for_the_model(model: Model, tmp_path: Path) -> None:
    found = summary(model, write(tmp_path / "large.bin", 240, 180))
    assert (found["sensor"], found["sensor_from"]) == ([240, 180], "guess")
    assert found["fit"]["why"] == ["a sensor of 240x180, not 128x128, a guess: say it with --sensor"]
    with pytest.raises(PlifError, match=r"20 of 2000 events lie outside 128x128.*say it: --sensor"):
        summary(model, write(tmp_path / "doubt.bin", 128, 128, stray=20))


def test_what_the_user_and_the_recording_say_comes_first(model: Model, tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", 34, 34)
    assert summary(model, path, sensor=(34, 34))["sensor_from"] == "asked"
    (tmp_path / "a.raw").write_bytes(evt3_bytes(some_events(100)))
    assert summary(model, tmp_path / "a.raw")["sensor_from"] == "recording"


def test_a_stream_prints_who_said_it(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stream", str(model.path), str(write(tmp_path / "a.bin", 34, 34))]) == 0
    assert "sensor    128x128 (as in the network's training)" in capsys.readouterr().out


def test_a_folder_and_recordings_without_labels_take_it_too(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        write(tmp_path / "set" / name / "1.bin", 34, 34)
    options = {"framing": "count:T=2", "shape": (2, 32, 32)}
    with_it = open_dataset(f"folder:{tmp_path}/set", trained=SENSOR, **options)
    without = open_dataset(f"folder:{tmp_path}/set", **options)
    found = [one.load_recording(0) for one in (with_it, without)]  # type: ignore[attr-defined]
    assert [(one.sensor, one.sensor_from) for one in found] == [((128, 128), "model"), ((34, 34), "guess")]
    capsys.readouterr()
    assert (
        run(["predict", str(model.path), str(tmp_path / "set"), "--out", str(tmp_path / "p.csv"), "--workers", "1"])
        == 0
    )
    assert "128x128 for 3 (as in the network's training)" in capsys.readouterr().err


def test_eval_takes_the_sensor_and_the_columns_as_stream_does(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = some_events(300)
    for name in "abc":
        (tmp_path / name).mkdir()
        milliseconds = "\n".join(f"{t / 1000:.3f},{x},{y},{int(p)}" for t, x, y, p in events.tolist())
        (tmp_path / name / "1.csv").write_text(milliseconds + "\n")
    net = firing("c4k4s4-BN-PLIF-FC30-PLIF-APk10s10", (2, 32, 32), framing="count:T=2", T=2)
    artifact = export(net, tmp_path / "m.onnx").path
    command = ["eval", str(artifact), "--data", f"folder:{tmp_path}", "--json", "--workers", "1", "--batch", "1"]
    asked = [*command, "--csv", "t=ms,x,y,p", "--sensor", "34x34"]
    assert run(command) == 2, "times with three digits behind the point: seconds or milliseconds?"
    capsys.readouterr()
    assert run(asked) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["samples"], found["sensor"], found["sensor_from"]) == (3, [34, 34], "asked")
    assert add_options("folder:a?sensor=3x3", csv="t=s,x,y,p") == "folder:a?sensor=3x3&csv=t=s,x,y,p"
    for spec, name in (("nmnist:a", "leave it out"), ("folder:a?csv=t=s,x,y,p", "say it once")):
        with pytest.raises(PlifError, match=name):
            add_options(spec, csv="t=ms,x,y,p")


def test_training_writes_the_sensor(tmp_path: Path) -> None:
    recipe = plif_train.Recipe(epochs=1, batch_size=10)
    plif_train.train("FC100-PLIF-APk10s10", "digits:10", tmp_path / "m.pt", recipe, T=2, limit_test=10)
    assert read_card(tmp_path / "m.pt")["sensor"] == [34, 34]


def test_recordings_that_say_their_sensor_say_it_to_the_network_too(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for split in ("train", "test"):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.raw").write_bytes(evt3_bytes(some_events(100)))  # 1280x720, says its header
    found = open_dataset(f"folder:{tmp_path}", framing="count:T=2", shape=(2, 16, 16))
    assert (found.sensor, found.common_sensor) == (None, found.recording(0)[1])  # type: ignore[attr-defined]
    recipe = plif_train.Recipe(epochs=1, batch_size=2)
    plif_train.train("FC20-PLIF-APk10s10", f"folder:{tmp_path}", tmp_path / "m.pt", recipe, T=2, size="16x16")
    assert read_card(tmp_path / "m.pt")["sensor"] == list(found.recording(0)[1])  # type: ignore[attr-defined]
    write(tmp_path / "train" / "b" / "2.bin", 34, 34)
    mixed = open_dataset(f"folder:{tmp_path}", "train", framing="count:T=2")
    with pytest.warns(PlifWarning, match="differ"):
        assert mixed.fix_sensor() is None  # type: ignore[attr-defined]
    sizes = [mixed.recording(i)[1] for i in range(len(mixed))]  # type: ignore[attr-defined]
    assert sizes == [found.recording(0)[1]] * 2 + [(34, 34)]  # type: ignore[attr-defined]


def test_a_card_whose_sensor_is_no_size_is_refused(model: Model) -> None:
    from runtime.core.model.card import check_artifact_card

    for wrong in ([128], "128x128", [0, 5], [1.5, 2], [True, True]):
        with pytest.raises(PlifError, match=r"sensor .* expected \[width, height\]"):
            check_artifact_card({**model.card, "sensor": wrong})
