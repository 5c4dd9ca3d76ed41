"""The numbers of bench/decide.py: intervals, false labels, sources that count, one whole run."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from runtime.events.frame import Frame
from runtime.stream.decide import Decision
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def decide() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bench_decide", REPOSITORY / "bench" / "decide.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_decide"] = module  # its NamedTuple looks its module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("n", "low", "high"), [(0, 0.0, 3.69), (1, 0.025, 5.57), (10, 4.80, 18.39), (100, 81.36, 121.63)]
)
def test_the_interval_of_a_count_is_nearly_the_exact_one(decide: ModuleType, n: int, low: float, high: float) -> None:
    found = decide.poisson_interval(n)
    assert found[0] == pytest.approx(low, abs=0.1) and found[1] == pytest.approx(high, abs=0.15)


def test_a_source_may_count(decide: ModuleType) -> None:
    assert decide.count_up("sim:x?seed={3..5}&seconds=1") == [f"sim:x?seed={n}&seconds=1" for n in (3, 4, 5)]
    assert decide.count_up("a.aedat") == ["a.aedat"]


def test_false_labels_are_runs_of_50_ms_and_other_is_none(decide: ModuleType) -> None:
    labels = ["a"] * 3 + [None] * 2 + ["b"] + ["other_gestures"] * 5 + ["a"] * 4 + ["c"] * 3
    frames = [Frame(None, 20_000 * i, 20_000 * (i + 1), 1) for i in range(len(labels))]  # type: ignore[arg-type]
    said = zip(frames, labels, strict=True)
    decisions = [Decision(frame.t_end_us, i, label, None, 0.0, [], 0.0) for i, (frame, label) in enumerate(said)]
    seconds, labelled, count = decide.alarms(decisions, frames, None)
    assert count == 3  # b lasted 20 ms only
    assert seconds == pytest.approx(0.36) and labelled == pytest.approx(0.22)


def test_a_whole_run_says_all_numbers_together(digits_onnx: Path) -> None:
    command = [
        sys.executable, str(REPOSITORY / "bench" / "decide.py"), str(digits_onnx), "sim:digits?seed={1..2}&seconds=1",
        "--negatives", "sim:digits?seed=9&seconds=0.5", "--framing", "duration:10ms", "--rules", "leak:80ms", "own", "--json",
    ]  # fmt: skip
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert [row["rule"] for row in found["rules"]] == ["leak:80ms", "own"]
    for row in found["rules"]:
        assert row["gestures"] >= 4 and 0 <= row["right"] <= row["gestures"] and len(row["negatives"]) == 1
        assert row["negatives"][0]["seconds"] == pytest.approx(0.5, abs=0.05)
        low, high = row["negatives"][0]["per_min_95"]
        assert low <= row["negatives"][0]["per_min"] <= high
