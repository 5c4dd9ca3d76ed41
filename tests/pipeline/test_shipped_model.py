"""The model that ships keeps what models/README.md and docs/results.md say of it, on real recordings where there are any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export, verify
from plif_export.core.verification import load_samples
from runtime.core.cli.main import run
from runtime.core.data import open_dataset
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.native import is_built
from tests.conftest import REPOSITORY
from tests.docs.sentences import check_numbers
from tests.recorded import SHARED, SHIPPED

MODEL = REPOSITORY / "models" / "nmnist-digits.pt"
SHARE = 0.001  # of the spikes, in which two processors may differ


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    folder = tmp_path_factory.mktemp("shipped")
    made = {}
    for form in ("step", "unrolled"):
        for math in ("exact", "folded"):
            result = export(MODEL, folder / f"{form}_{math}.onnx", form=form, math=math)
            assert result.passed
            report = result.verify
            assert report is not None and report.untested == [] and report.spikes > 20_000
            assert report.spike_mismatches == report.excused
            if report.excused == 0:
                assert report.free_running_mismatches == 0
            made[form, math] = result.path
    return made


def test_it_passes_the_gate_in_both_forms_and_both_maths_with_no_layer_untested(
    artifacts: dict[tuple[str, str], Path],
) -> None:
    assert len(artifacts) == 4


@pytest.mark.parametrize("math", ("exact", "folded"))
def test_step_equals_unrolled_in_every_spike(artifacts: dict[tuple[str, str], Path], math: str) -> None:
    digits = open_dataset("digits:10", "test", framing="count:T=10", shape=(2, 34, 34))
    x = np.stack([digits.sample(i) for i in range(10)], axis=1)
    sessions = [runtime.load(artifacts[form, math]).session(streams=10) for form in ("step", "unrolled")]
    y = [session.run(x) for session in sessions]
    np.testing.assert_array_equal(y[0], y[1])
    assert y[0].sum() > 10
    for name, v in sessions[0].state.items():
        np.testing.assert_array_equal(v, sessions[1].state[name], err_msg=name)


def test_at_least_95_percent_of_real_recordings_and_every_answer_as_in_pytorch(
    artifacts: dict[tuple[str, str], Path], nmnist: Path
) -> None:
    data = f"nmnist:{nmnist}"
    original = evaluate(runtime.load(MODEL), data)
    for path in artifacts.values():
        result = evaluate(runtime.load(path, rates=True), data)
        assert result.accuracy >= 0.95 and result.samples == 100
        assert result.predictions == original.predictions
        assert all(0 < rate < 1 for rate in result.firing_rates.values())


def test_the_gate_holds_on_real_recordings(artifacts: dict[tuple[str, str], Path], nmnist: Path) -> None:
    for path in artifacts.values():
        report = verify(path, MODEL, load_samples(path, f"nmnist:{nmnist}", 4))
        assert report.passed and report.untested == [] and report.streams == 4


@pytest.mark.skipif(not is_built(), reason="the event engine is not built (no C compiler at installation)")
def test_the_event_engine_does_what_pytorch_does_on_real_recordings(
    artifacts: dict[tuple[str, str], Path], nmnist: Path
) -> None:
    data = f"nmnist:{nmnist}"
    path = artifacts["step", "folded"]
    report = verify(path, MODEL, load_samples(path, data, 4), engine="event")
    assert report.passed and report.engine_steps == 40
    dense, sparse = (evaluate(runtime.load(path, engine), data) for engine in ("onnxruntime", "event"))
    assert sparse.predictions == dense.predictions


def test_streaming_a_real_recording_gives_the_answer_of_the_evaluation(
    artifacts: dict[tuple[str, str], Path], nmnist: Path
) -> None:
    model = runtime.load(artifacts["step", "folded"])
    data = open_dataset(f"nmnist:{nmnist}", "test", framing=model.card["framing"], shape=model.input_shape)
    evaluated = evaluate(model, f"nmnist:{nmnist}", limit=30)
    for i in range(30):
        *_, last = model.stream(str(data.path(i)))
        assert last.index == evaluated.predictions[i]


def proved(path: Path) -> tuple[int, int, int]:
    """(spikes that differ in the gate, that differ running freely, and all) of an artifact's report."""
    report = json.loads(path.with_name(f"{path.name}.report.json").read_text())["verify"]
    return report["spike_mismatches"], report["free_running_mismatches"], report["spikes"]


def test_the_pages_say_how_many_spikes_were_compared(artifacts: dict[tuple[str, str], Path]) -> None:
    differ, free, spikes = proved(artifacts["step", "folded"])
    command = "plif export models/nmnist-digits.pt"
    check_numbers("docs/results.md", r"non-zero start \| ([\d,]+) of ([\d,]+) \|", (differ, spikes), command, SHARE)
    row = r"\| nmnist-digits.pt, folded \|[^|]*\|[^|]*\| ([\d,]+), ([\d,]+) \|"
    check_numbers("docs/decisions/folded-maths.md", row, (differ, free), command, SHARE)
    row = r"\| nmnist-digits.pt, exact \|[^|]*\|[^|]*\| ([\d,]+), ([\d,]+) of ([\d,]+) \|"
    check_numbers(
        "docs/decisions/folded-maths.md", row, proved(artifacts["step", "exact"]), f"{command} --math exact", SHARE
    )


def check_right(path: Path, data: str, row: str, models: str) -> None:
    found, command = evaluate(runtime.load(path), data), f"plif eval digits.onnx --data {data}"
    check_numbers("docs/results.md", rf"{row} \| (\d+) of (\d+) ", (found.correct, found.samples), command)
    percent = [round(100 * share, 1) for share in (found.accuracy, *found.interval)]
    check_numbers("models/README.md", rf"\| {models} \| ([\d.]+) % \| ([\d.]+) - ([\d.]+) \|", percent, command)


def test_the_pages_say_how_many_real_recordings_are_right(artifacts: dict[tuple[str, str], Path], nmnist: Path) -> None:
    """1000 more: tests/pipeline/test_shipped_precision.py."""
    check_right(
        artifacts["step", "folded"], f"nmnist:{nmnist}", "real N-MNIST test recordings", "100 real test recordings"
    )


def test_the_pages_say_how_many_drawn_digits_are_right(artifacts: dict[tuple[str, str], Path]) -> None:
    check_right(artifacts["step", "folded"], "digits:200", "200 digits drawn by plif", "200 digits drawn by plif")


# Real clips, a recording of another sensor that ships, and the real ones that are on this machine.
CLIPS = ("0_hand_clapping.bs2", "3_right_arm_clockwise.bs2")
RECORDINGS = sorted(path.name for path in (SHARED / "recordings").iterdir()) if SHARED.is_dir() else []


@pytest.mark.one_in(4)
@pytest.mark.parametrize("framing", (None, "duration:10ms", "events:n=5000,max=20ms"))
@pytest.mark.parametrize("name", [*CLIPS, "evt3.raw", *RECORDINGS])
def test_every_recording_streams_to_its_end_with_every_event_accounted_for(
    artifacts: dict[tuple[str, str], Path],
    clips: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    framing: str | None,
) -> None:
    if name.endswith("aedat4"):
        pytest.importorskip("aedat", reason="the aedat library is not installed")
    place = clips if name in CLIPS else SHIPPED if name not in RECORDINGS else SHARED / "recordings"
    arguments = ["stream", str(artifacts["step", "folded"]), str(place / name), "--json"]
    assert run(arguments + (["--framing", framing] if framing else [])) == 0
    *decisions, last = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    summary = last["summary"]
    places = ("used", "filtered", "late", "invalid", "dropped")
    assert summary["events_in"] == sum(summary[f"events_{place}"] for place in places) > 2000
    assert len(decisions) == summary["frames"] and summary["events_used"] > 0.99 * summary["events_in"]
    if framing is None:
        assert len(decisions) == 10 and summary["events_late"] == 0
    if "clock_faults" in name:
        assert summary["events_in"] == 741_257 + 9 and summary["events_invalid"] == 9
        assert summary["events_late"] == (0 if framing is None else 3)
