"""fp16 and int8 of trained networks decide as fp32 does: the model that ships, and two that others trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runtime
from plif_export import export, verify
from plif_export.core.verification import load_samples
from runtime.core.data import open_dataset
from runtime.core.events import make_frames, read_events
from runtime.core.measure.evaluate.evaluation import evaluate
from tests.conftest import REPOSITORY
from tests.docs.sentences import check_numbers
from tests.plif_export.readers.state_dict.test_read_spikingjelly import DIGITS, GESTURE

MODEL = REPOSITORY / "models" / "nmnist-digits.pt"
REDUCED = ("fp16", "int8")


def exported(
    folder: Path, model: Path, precisions: tuple[str, ...] = ("fp32", *REDUCED), **options: Any
) -> dict[str, Path]:
    """One file a precision, each proved."""
    made = {}
    for precision in precisions:
        result = export(model, folder / f"{model.stem}_{precision}.onnx", precision=precision, **options)
        report = result.verify
        assert report is not None and report.passed and report.untested == []
        assert report.spike_mismatches == report.excused
        made[precision] = result.path
    return made


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return exported(tmp_path_factory.mktemp("shipped"), MODEL)


def count_changed(files: dict[str, Path], data: str, split: str, limit: int | None = None) -> dict[str, int]:
    """How many decisions of each precision are not those of fp32. All samples have one length: [T, samples, C, H, W]."""
    models = {precision: runtime.load(path) for precision, path in files.items()}
    card = models["fp32"].card
    dataset = open_dataset(data, split, framing=card["framing"], shape=models["fp32"].input_shape)
    x = np.stack([dataset.sample(i) for i in range(min(limit or len(dataset), len(dataset)))], axis=1)
    found = {
        p: np.rint(10 * model.session(x.shape[1]).run(x)).sum(axis=0).argmax(axis=1) for p, model in models.items()
    }
    return {precision: int((found[precision] != found["fp32"]).sum()) for precision in REDUCED}


def test_on_drawn_digits_no_decision_of_a_hundred_changes(shipped: dict[str, Path]) -> None:
    assert count_changed(shipped, "digits:100", "test") == {"fp16": 0, "int8": 0}


def test_int8_is_a_quarter_of_the_file_and_flips_one_spike_in_a_hundred(shipped: dict[str, Path]) -> None:
    assert shipped["int8"].stat().st_size < 0.27 * shipped["fp32"].stat().st_size
    report = verify(shipped["int8"], MODEL, seed=3)
    assert report.passed and 0 < report.free_running_mismatches < 0.02 * report.spikes


def test_the_page_says_how_many_spikes_rounding_changes(shipped: dict[str, Path]) -> None:
    reports = {
        p: json.loads(path.with_name(f"{path.name}.report.json").read_text())["verify"] for p, path in shipped.items()
    }
    page, command = "docs/precision.md", "plif export models/nmnist-digits.pt"
    spikes = reports["fp32"]["spikes"]
    check_numbers(page, r"\| nmnist-digits.pt, ([\d,]+) spikes \| conv1", [spikes], command, 0.001)
    for precision in REDUCED:
        report = reports[precision]
        now = [layer["free_running_mismatches"] for layer in report["layers"]] + [report["rounding_mismatches"]]
        row = rf"\| conv1 \|(?:.*\n)+?\| {precision}" + 5 * r" \| ([\d,]+)" + r" \|\n"
        check_numbers(page, row, now, f"{command} --precision {precision}", 0.1)


def check_answers(files: dict[str, Path], data: str, split: str, row: str) -> dict[str, tuple[int, int]]:
    """Compares a row of docs/precision.md, and returns {precision: (decisions that differ from fp32's, right ones)}."""
    found = {precision: evaluate(runtime.load(path), data, split=split) for precision, path in files.items()}
    now = {
        p: (sum(a != b for a, b in zip(one.predictions, found["fp32"].predictions, strict=True)), one.correct)
        for p, one in found.items()
    }
    command = f"plif eval m.onnx --data {data} --split {split} --against models/nmnist-digits.pt"
    cells = r" \| (\d+)" + 2 * r" \| (\d+), (\d+)" + r" \|"
    check_numbers("docs/precision.md", row + cells, [now["fp32"][1], *now["fp16"], *now["int8"]], command)
    return now


def test_the_pages_say_what_rounding_changes_of_the_hundred_real_recordings(
    shipped: dict[str, Path], nmnist: Path
) -> None:
    now = check_answers(shipped, f"nmnist:{nmnist}", "test", r"\| nmnist-digits.pt \(ships\) \| 100 real test")
    check_numbers("docs/results.md", r"int8 changes.*\| (\d+) of 100, ", now["int8"][:1], "the same")


@pytest.mark.large
def test_the_pages_say_what_rounding_changes_of_a_thousand_digits(
    shipped: dict[str, Path], nmnist: Path, shared_data: Path
) -> None:
    check_answers(shipped, "digits:1000", "test", r"\| nmnist-digits.pt(?:.*\n)+?\| \| 1000 drawn by plif")
    now = check_answers(
        shipped, f"nmnist:{nmnist}", "train", r"\| nmnist-digits.pt(?:.*\n)+?\| \| 1000 real, not trained on"
    )
    check_numbers("docs/results.md", r"int8 changes.*, (\d+) of 1000 \|", now["int8"][:1], "the same")
    check_numbers(
        "docs/results.md", r"1000 more real ones.*\| (\d+) of 1000 \(", now["fp32"][1:], "the same, without --precision"
    )
    check_numbers("docs/evaluation.md", r"\((\d+) of 1000, ", now["fp32"][1:], "the same, without --precision")


@pytest.mark.large
def test_on_real_recordings_fewer_than_one_decision_in_a_hundred_changes(
    shipped: dict[str, Path], nmnist: Path
) -> None:
    data = f"nmnist:{nmnist}"
    for split, limit, most in (("test", None, 0), ("train", 300, 2)):
        for precision, count in count_changed(shipped, data, split, limit).items():
            assert count <= most, (split, precision)


def test_the_gate_of_int8_holds_on_real_recordings(shipped: dict[str, Path], nmnist: Path) -> None:
    for precision in REDUCED:
        x = load_samples(shipped[precision], f"nmnist:{nmnist}", 8)
        report = verify(shipped[precision], MODEL, x)
        assert report.passed and report.untested == [] and (report.decisions, report.decisions_changed) == (8, 0)


@pytest.mark.large
def test_on_all_real_recordings_fewer_than_one_decision_in_a_hundred_changes(
    shipped: dict[str, Path], nmnist: Path, shared_data: Path, tmp_path: Path
) -> None:
    others = exported(
        tmp_path, shared_data / "checkpoints" / "spikingjelly_if_nmnist_T16.pth", network=DIGITS,
        classes="0,1,2,3,4,5,6,7,8,9", framing="count:T=16",
    )  # fmt: skip
    for files in (shipped, others):
        counts = [count_changed(files, f"nmnist:{nmnist}", split) for split in ("test", "train")]
        assert all(counts[0][p] + counts[1][p] < 11 for p in REDUCED)


@pytest.mark.large
def test_the_real_gesture_network_answers_all_six_clips_in_lower_precision(
    clips: Path, shared_data: Path, tmp_path: Path
) -> None:
    """As it does in fp32: tests/plif_export/readers/state_dict/test_read_spikingjelly.py."""
    files = exported(
        tmp_path, shared_data / "checkpoints" / "spikingjelly_if_dvs128gesture_T16.pth", REDUCED, network=GESTURE,
        classes="0,1,10,2,3,4,5,6,7,8,9", framing="duration:131072us,T=16,pad=repeat,value=binary",
    )  # fmt: skip
    for path in files.values():
        model = runtime.load(path)
        right = 0
        for clip in sorted(clips.glob("*.bs2")):
            x = make_frames(read_events(clip, sensor=(128, 128)), model.card["framing"], (2, 128, 128), (128, 128))
            votes = np.rint(10 * model.session(1).run(x[:, None])[:, 0].astype(np.float64)).sum(axis=0)
            right += model.classes[int(votes.argmax())] == clip.name.partition("_")[0]
        assert right == 6
