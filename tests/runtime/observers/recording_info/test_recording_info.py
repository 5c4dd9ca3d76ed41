"""What plif info says of a recording, and whether it fits a network."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from runtime.core.cli.main import run
from runtime.core.events import make_events
from runtime.core.model.card import read_card
from runtime.observers.recording_info.describe import describe_recording
from tests.conftest import REPOSITORY
from tests.recorded import SHIPPED, unpack_clips
from tests.recordings import aedat2_bytes, some_events


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network that ships, exported."""
    path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    return export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path


def written(folder: Path, count: int = 4000, **size: int) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "a.aedat"
    path.write_bytes(aedat2_bytes(some_events(count, width=128, height=128, **size)))
    return path


def test_what_fits_the_networks_that_ship_fits_and_another_camera_does_not(digits: Path, tmp_path: Path) -> None:
    models, clips = REPOSITORY / "models", unpack_clips(tmp_path)
    for name in ("gesture.pt", "gesture-sim.pt"):
        for clip in sorted(clips.glob("*.bs2")):
            fit = describe_recording(str(clip), models / name).fit
            assert fit is not None and fit["fits"] is True, (name, clip, fit["why"])
    fit = describe_recording(str(clip), models / "nmnist-digits.pt", sensor=(128, 128)).fit
    assert fit is not None and fit["fits"] is False and len(fit["why"]) == 2
    fit = describe_recording(str(SHIPPED / "nmnist.bin"), digits).fit
    assert fit is not None and fit["fits"] is True, fit["why"]


def test_info_says_what_a_recording_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    t = np.arange(1000) * 1000
    events = make_events(t, np.full(1000, 20), np.full(1000, 10), np.arange(1000) % 4 == 0)
    (tmp_path / "a.aedat").write_bytes(aedat2_bytes(events))  # of which the format says: stored turned by 180 degrees
    found = describe_recording(str(tmp_path / "a.aedat"))
    assert (found.format, found.sensor, found.sensor_from, found.events, found.events_lost) == (
        "aedat2", (128, 128), "recording", 1000, 0,
    )  # fmt: skip
    assert (found.duration_s, found.polarity, found.upright, found.fit) == (0.999, 0.25, "rotate180", None)
    assert found.rate == pytest.approx(1001, abs=1)
    (row,) = [i for i, line in enumerate(found.picture) if line.strip()]
    stored = describe_recording(str(tmp_path / "a.aedat"), up="top")
    (other,) = [i for i, line in enumerate(stored.picture) if line.strip()]
    assert len(found.picture) == 24 and row > 12 > other and stored.upright_from == "asked"
    assert run(["info", str(tmp_path / "a.aedat"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(found.to_dict()))


def test_info_compares_a_recording_with_a_model(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "s")
    assert run(["info", str(path), "--for", str(digits), "--json"]) == 0
    fit = json.loads(capsys.readouterr().out)["fit"]
    assert fit["why"] == ["a sensor of 128x128, not 34x34"] and fit["seen"]["size"] == [128, 128]
    assert {"samples": 64, **fit["trained_on"]} == read_card(digits)["trained_on"] and set(fit["seen"]) == {
        "size",
        "rate",
        "polarity",
        "events_a_pixel",
    }
    assert run(["info", str(path), "--for", str(digits)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("fit ") and "not 34x34" in line for line in lines)
    assert run(["info", str(SHIPPED / "nmnist.bin"), "--for", str(digits)]) == 0
    assert f"{digits}: fits" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    (
        (("--up", "left"), "info --up: is about a recording; name one"),
        (("nothing.raw",), "no such file"),
        (("sim:digits?seed=1", "--for", "{digits}"), "has no end"),
        (("{bin}", "--for", "{bin}"), "is not an ONNX file"),
        (("{junk}.onnx",), "is not an ONNX file"),
        (("{junk}.raw",), "not a recording in a known format"),
    ),
)
def test_what_info_cannot_read_is_one_line(
    arguments: tuple[str, ...], said: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in (".onnx", ".raw"):
        (tmp_path / f"junk{suffix}").write_bytes(b"\xff\xfe\xfd\xfc" * 5)
    places = {"digits": digits, "bin": SHIPPED / "nmnist.bin", "junk": tmp_path / "junk"}
    assert run(["info", *(argument.format(**places) for argument in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("plif: error: ") and said in line
