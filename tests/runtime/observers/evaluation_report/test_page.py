"""The page of a report: round ticks, and nothing that is cut."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import runtime
from runtime.core.measure.evaluate.judge import judge
from runtime.observers.evaluation_report.charts import choose_ticks, draw_histogram
from runtime.observers.evaluation_report.files import write_report
from runtime.observers.evaluation_report.report import EvaluationReport, make_report
from tests.browser import Browser, find_chromium

LONG = (
    "right_arm_counter_clockwise",
    "left_arm_counter_clockwise",
    *(f"another_gesture_of_arms_{i}" for i in range(8)),
)


@pytest.fixture(scope="module")
def results(digits_onnx: Path, nmnist: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EvaluationReport]:
    """The folder of an evaluation of twenty recordings, and its report."""
    out, data = tmp_path_factory.mktemp("for-others"), f"nmnist:{nmnist}"
    model = runtime.load(digits_onnx, "onnxruntime", rates=True)
    trained = "plif train --data nmnist:/home/ann/data"
    model.card["provenance"] = {"accuracy": 0.5, "data": "nmnist", "command": trained}
    command = f"plif eval {digits_onnx} --data {data} --out '{out}'"
    judged = judge(model, data, limit=20, out=out, latex=True, command=command)
    assert judged.written[-1] == out / "latex" / "results.tex"
    return out, make_report(model, judged.evaluation, out, command=command)


def named(report: EvaluationReport, classes: tuple[str, ...]) -> EvaluationReport:
    """The same with other names of classes."""
    rows = [{**row, "class": name} for row, name in zip(report.evaluation.per_class, classes, strict=True)]
    return replace(report, evaluation=replace(report.evaluation, classes=list(classes), per_class=rows))  # type: ignore[arg-type]


def test_a_logarithmic_axis_has_round_ticks() -> None:
    assert choose_ticks(0.63, 63) == [1, 2, 5, 10, 20, 50] and choose_ticks(0.01, 100) == [0.01, 0.1, 1, 10, 100]
    assert choose_ticks(1.259, 3.981) == [1.5, 2, 2.5, 3, 3.5] and choose_ticks(4.467, 6.31) == [4.5, 5, 5.5, 6]
    for low in (0.0123, 1.585, 4.467):
        for wide in (1.122, 1.6, 7, 500):
            ticks = choose_ticks(low, low * wide)
            assert ticks and all(low <= tick <= low * wide and len(f"{tick:g}".strip("0.")) <= 3 for tick in ticks)
    chart = draw_histogram("times", "ms", "samples", [1.259, 1.585, 1.995, 2.512], [3, 1, 2])
    assert "1.585" not in chart and ">1.5<" in chart and ">2<" in chart


@pytest.mark.machines
@pytest.mark.skipif(find_chromium() is None, reason="no Chromium on this machine (apt-get install chromium)")
@pytest.mark.parametrize("width", (1366, 1024, 390))
def test_no_number_of_a_class_is_cut_on_the_page(
    results: tuple[Path, EvaluationReport], width: int, tmp_path: Path
) -> None:
    pytest.importorskip("websockets.sync.client", reason="the extra [dashboard] is not installed")
    write_report(named(results[1], LONG), tmp_path)
    with Browser(find_chromium() or "", width) as browser:
        browser.open(f"file://{tmp_path}/report.html")
        cut = browser.run("[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length")
        assert cut == 0 or width == 390, "a phone scrolls"
        assert browser.run("document.documentElement.scrollWidth") <= width
