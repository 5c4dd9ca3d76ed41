"""The numbers of bench/decide.py: intervals, false labels, sources that count, one whole run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import plif_export
import runtime
from bench import decide
from plif_train.core.loop import checkpoint
from plif_train.core.network.presets import build
from runtime.core.events import open_source
from runtime.core.events.frame import Frame
from runtime.observers.calibrate.labels import (
    FalseLabels,
    FeedOutputs,
    count_false_labels,
    decide_labels,
    poisson_interval,
)
from runtime.observers.calibrate.rules import expand_specs
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("n", "low", "high"), [(0, 0.0, 3.69), (1, 0.025, 5.57), (10, 4.80, 18.39), (100, 81.36, 121.63)]
)
def test_the_interval_of_a_count_is_nearly_the_exact_one(n: int, low: float, high: float) -> None:
    found = poisson_interval(n)
    assert found[0] == pytest.approx(low, abs=0.1) and found[1] == pytest.approx(high, abs=0.15)


def test_a_source_may_count() -> None:
    assert list(expand_specs(["sim:x?seed={3..5}&seconds=1"])) == [f"sim:x?seed={n}&seconds=1" for n in (3, 4, 5)]
    assert list(expand_specs(["a.aedat"])) == ["a.aedat"]


def frames_of(steps: int) -> list[Frame]:
    """Of 20 ms each."""
    return [Frame(None, 20_000 * i, 20_000 * (i + 1), 1) for i in range(steps)]  # type: ignore[arg-type]


def test_false_labels_are_runs_of_50_ms_and_other_is_none() -> None:
    labels = [0] * 3 + [-1] * 2 + [1] + [3] * 5 + [0] * 4 + [2] * 3
    found = count_false_labels(np.array(labels), frames_of(len(labels)), 4, 3)
    assert found.counts.tolist() == [2, 0, 1, 0]  # 1 lasted 20 ms only
    assert found.seconds == pytest.approx(0.36) and found.labelled_s == pytest.approx(0.22)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("reset", ["silence:40", "every:8/2", "never"])
@pytest.mark.parametrize("rule", ["leak:80ms", "own,idle=auto", "leak:80ms,idle=12k", "own, idle=12000,margin=0.1"])
def test_decisions_are_those_of_a_stream(digits_onnx: Path, rule: str, reset: str) -> None:
    model, framing, source = runtime.load(digits_onnx), "duration:5ms", "sim:digits?seed=3&seconds=2"
    seen = decide.see(model, framing, open_source(source), None, reset, decide.stepping(rule, reset))
    said, names = list(model.stream(source, framing=framing, decide=rule, reset=reset)), [*model.classes, "idle", None]
    found = decide_labels(model, rule, reset, seen.steps)
    assert [names[i] for i in found.firm] == [d.label or ("idle" if d.why == "idle" else None) for d in said]
    assert [None if i < 0 else names[i] for i in found.soft] == [d.soft for d in said] and len(said) > 300
    assert any(d.why == "idle" for d in said) or "idle=12" not in rule


def test_a_network_with_count_framing_is_stepped_as_live_in_the_view_of_its_card(tmp_path: Path) -> None:
    net = build("c1k4s4-PLIF-FC30-PLIF-APk10s10", shape=(2, 34, 34), T=4, framing="count:T=4", view="upright")
    checkpoint.save(net, tmp_path / "m.pt")
    plif_export.export(tmp_path / "m.pt", tmp_path / "m.onnx", verify=False)
    command = [
        sys.executable, str(REPOSITORY / "bench" / "decide.py"), str(tmp_path / "m.onnx"),
        "sim:digits?seed=1&seconds=0.2", "--rules", "sum", "--json",
    ]  # fmt: skip
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert found["framing"] == "events:n=5000,max=20ms,orientation=upright,resize=sum"


def test_what_is_measured_is_what_was_said(digits_onnx: Path) -> None:
    """Four seconds with known labels: three digits, of which one is right, one said too briefly, one never."""
    said: list[int | None] = [None] * 200  # 20 ms each
    for first, end, label in (
        *((15, 20, 1), (20, 22, 4), (22, 30, 1)),  # the digit 1, from 200 to 600 ms
        *((58, 64, 2), (64, 80, 5)),  # the digit 2, from 1200 ms; said before that, and not for long
        (110, 130, 6),  # the digit 3, from 2200 ms
        *((146, 149, 7), (152, 154, 8)),  # nothing: an alarm of 60 ms, and 40 ms that are none
    ):
        said[first:end] = [label] * (end - first)
    y = np.array([[[float(label == k) for k in range(10)]] for label in said], np.float32)
    truth = [(1000 * a, 1000 * b, name) for a, b, name in ((200, 600, "1"), (1200, 1600, "2"), (2200, 2600, "3"))]
    truth.append((3_200_000, 3_400_000, "other"))
    model = runtime.load(digits_onnx)
    steps = decide.Seen(FeedOutputs(frames_of(len(said)), y), truth, [240_000, 1_240_000, 2_200_000, 3_200_000])
    found = decide.measure(model, "kofn:1/1,release=1", "never", [steps], [[steps, steps]])
    assert (found["gestures"], found["right"], found["never"], found["accuracy"]) == (3, 1, 1, 0.3333)
    assert found["accuracy_95"] == pytest.approx([0.0615, 0.7923], abs=1e-4)
    assert (found["onset_p50_ms"], found["onset_p90_ms"]) == (40, 72)  # of 80 and 0
    assert (found["changes_median"], found["changes_mean"]) == (1.5, 1.5)  # of 2 and 1
    assert found["idle_answers"] == pytest.approx(7 / 74, abs=1e-4)
    assert (found["idle"]["count"], found["idle"]["seconds"]) == (1, 1.4)
    assert found["idle"]["labelled"] == pytest.approx(7 / 70, abs=1e-4)
    (people,) = found["negatives"]
    assert (people["count"], people["seconds"], people["per_min"], people["labelled"]) == (12, 8.0, 90.0, 0.31)
    assert people["per_min_95"] == pytest.approx([7.5 * 6.20, 7.5 * 20.96], rel=0.005)  # Poisson, 12 in 8 s


def test_no_time_at_all_has_no_rate() -> None:
    assert decide._false([FalseLabels(0.0, 0.0, np.zeros(2, int))]) == {
        "seconds": 0.0, "count": 0, "per_min": None, "per_min_95": None, "labelled": None,
    }  # fmt: skip


def test_a_whole_run_says_all_numbers_together(digits_onnx: Path) -> None:
    command = [
        sys.executable, str(REPOSITORY / "bench" / "decide.py"), str(digits_onnx), "sim:digits?seed={1..2}&seconds=1",
        "--negatives", "sim:digits?seed=9&seconds=0.5", "--framing", "duration:10ms", "--rules", "leak:80ms", "own,idle=auto",
        "--idle", "2000", "--json",
    ]  # fmt: skip
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert [row["rule"] for row in found["rules"]] == ["leak:80ms,idle=2000", "own,idle=auto"]
    for row in found["rules"]:
        assert row["gestures"] >= 4 and 0 <= row["right"] <= row["gestures"] and len(row["negatives"]) == 1
        assert row["negatives"][0]["seconds"] == pytest.approx(0.5, abs=0.05)
        assert row["soft"]["never"] <= row["never"] and len(row["soft"]["negatives"]) == 1
        low, high = row["negatives"][0]["per_min_95"]
        assert low <= row["negatives"][0]["per_min"] <= high


def test_a_source_may_have_filters_of_its_own(digits_onnx: Path) -> None:
    source = "sim:digits?seed=9&seconds=0.5"
    command = [
        sys.executable, str(REPOSITORY / "bench" / "decide.py"), str(digits_onnx), "sim:digits?seed=1&seconds=0.5",
        "--negatives", source, "--negatives", f"{source} | roi:0:0:1:1", "--framing", "duration:10ms",
        "--rules", "leak:20ms", "--json",
    ]  # fmt: skip
    (rule,) = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)["rules"]
    seen, hidden = rule["negatives"]
    assert hidden["labelled"] < seen["labelled"]
