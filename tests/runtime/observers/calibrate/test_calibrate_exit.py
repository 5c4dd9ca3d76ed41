"""An early exit that was calibrated: in the card, in evaluation, in a stream and in C."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest

import runtime
from plif_export import export
from runtime.core.base.errors import CheckFailed
from runtime.core.cli.main import run
from runtime.core.data.dataset import EventSet
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.core.model.card import read_card
from runtime.observers.calibrate import CalibrationOptions
from runtime.observers.calibrate.exits import calibrate_exit, write_exit
from tests.conftest import REPOSITORY
from tests.libplif import CRecording, CSession, Handle

DIGITS = "digits:20"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "digits.onnx"
    return export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path


def test_a_calibrated_exit_is_in_the_card_and_used_and_its_digest_holds(shipped: Path, tmp_path: Path) -> None:
    new = tmp_path / "early.onnx"
    arguments = ["eval", str(shipped), "--data", "digits:60", "--calibrate-exit", "8%", "-o", str(new), "--json"]
    assert run(arguments) == 0
    card = read_card(new)
    assert card["exit"]["lost_at_most"] <= 0.08 and 0 < card["exit"]["margin"] <= 1
    model = runtime.load(new, "onnxruntime")  # refuses where the digest does not fit
    assert {k: v for k, v in card.items() if k not in ("exit", "digest")} == {
        k: v for k, v in read_card(shipped).items() if k != "digest"
    }
    out = tmp_path / "out"
    assert run(["eval", str(new), "--data", DIGITS, "--limit", "8", "--out", str(out)]) == 0
    assert json.loads((out / "metrics.json").read_text())["exit_margin"] == card["exit"]["margin"]
    assert run(["eval", str(new), "--data", DIGITS, "--limit", "8", "--exit-margin", "off", "--out", str(out)]) == 0
    assert json.loads((out / "metrics.json").read_text())["mean_steps"] == 10
    again = write_exit(new, calibrate_exit(model, "digits:60", 0.08), tmp_path / "again.onnx")
    assert again.read_bytes() == new.read_bytes()
    assert run(["verify", str(new), "--against", str(REPOSITORY / "models" / "nmnist-digits.pt")]) == 0


def test_libplif_ends_a_recording_where_the_file_says_so_as_a_stream_does(shipped: Path, tmp_path: Path) -> None:
    plain, early = tmp_path / "plain.plif", tmp_path / "early.plif"
    export(REPOSITORY / "models" / "nmnist-digits.pt", plain, to="plif", verify=False)
    write_exit(plain, calibrate_exit(runtime.load(shipped), "digits:60", 0.08), early)
    without = [{k: v for k, v in read_card(path).items() if k not in ("exit", "digest")} for path in (plain, early)]
    assert without[0] == without[1]
    assert run(["verify", str(early), "--against", str(REPOSITORY / "models" / "nmnist-digits.pt")]) == 0
    dataset = DatasetSplit(DIGITS, "test").open(runtime.load(plain))
    assert isinstance(dataset, EventSet)
    write_nmnist(tmp_path / "a.bin", dataset.recording(0)[0])
    read, handle = CRecording(tmp_path / "a.bin"), Handle(early)
    events, extent = read.events(), read.describe()
    facts = {
        name: getattr(extent, name) for name in ("sensor_width", "sensor_height", "total_events", "first_us", "last_us")
    }
    recorded, live = (
        CSession(handle, **facts),
        CSession(handle, framing="duration:20ms", **{**facts, "total_events": -1}),
    )
    finals = [bool(recorded.decision.is_final) for _ in chain(recorded.feed(events), recorded.finish())]
    assert 0 < finals.index(True) < len(finals) - 1
    assert len(list(runtime.load(early).stream(str(tmp_path / "a.bin")))) == finals.index(True) + 1
    assert len(list(runtime.load(plain).stream(str(tmp_path / "a.bin")))) == len(finals)
    assert not any(live.decision.is_final for _ in live.feed(events)), "a feed has no end that could come early"


def test_what_cannot_be_shown_on_so_few_samples_is_refused(shipped: Path, tmp_path: Path) -> None:
    model = runtime.load(shipped, "onnxruntime")
    with pytest.raises(CheckFailed, match=r"on 20 samples no loss below 16\.11 % can be shown.*needs \d+ samples"):
        calibrate_exit(model, DIGITS, 0.005, limit=20)
    assert run(["eval", str(shipped), "--data", DIGITS, "--calibrate-exit", "x", "-o", str(tmp_path / "n.onnx")]) == 2
    assert run(["eval", str(shipped), "--data", DIGITS, "--calibrate-exit", "20%", "-o", str(shipped)]) == 2
    assert run(["eval", str(shipped), "--data", DIGITS, "--exit-margin", "0"]) == 2
    assert (
        CalibrationOptions(calibrate_exit="0.5%")
        == CalibrationOptions(calibrate_exit="0.005")
        == CalibrationOptions(calibrate_exit=0.005)
    )


@pytest.mark.large
def test_on_real_recordings_an_exit_calibrated_on_simulated_ones_halves_the_steps(
    shipped: Path, nmnist: Path, tmp_path: Path
) -> None:
    found = calibrate_exit(runtime.load(shipped), "digits:1000", 0.005)
    new = write_exit(shipped, found, tmp_path / "early.onnx")
    model = runtime.load(new)
    right: dict[str | float, int] = {"off": 0, found.margin: 0}
    steps = 0.0
    for split, count in (("test", 100), ("train", 1000)):
        for margin in right:
            result = evaluate(model, f"nmnist:{nmnist}", split=split, exit_margin=margin)
            right[margin] += result.correct
            steps += result.mean_steps * count if margin != "off" else 0
    assert steps / 1100 <= 5 and (right["off"] - right[found.margin]) / 1100 <= 0.005, (steps, right)
