"""What of an evaluation is for others: a page on which nothing is cut, a card for a hub, tables and figures for a paper."""

from __future__ import annotations

import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import runtime
from runtime.core.base.version import __version__
from runtime.core.cli.main import run
from runtime.core.measure.evaluate.judge import judge
from runtime.core.measure.metrics import ArtifactIdentity
from runtime.observers.evaluation_report.drawings import make_line_charts
from runtime.observers.evaluation_report.report import EvaluationReport, make_report
from runtime.observers.latex.paper import FIGURES, SETS, write_latex
from tests.latex import check_latex, compile_latex, has_latex

LONG = (
    "right_arm_counter_clockwise",
    "left_arm_counter_clockwise",
    *(f"another_gesture_of_arms_{i}" for i in range(8)),
)
EVIL = (
    *(
        "\\input{/etc/passwd}",
        "a_b & 100 % #1",
        "[1]",
        "$x$ ^ ~",
        "*",
        "手勢",
        "Łódź \\\\ ü",
        "--help",
        '{"',
        "}\n\\end{table}",
    ),
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


def test_a_paper_has_the_numbers_of_the_evaluation_and_cites_what_it_uses(
    results: tuple[Path, EvaluationReport],
) -> None:
    out, report = results
    text, r = check_latex(out / "latex"), report.evaluation
    low, high = r.interval
    assert f"{100 * r.accuracy:.2f} & [{100 * low:.1f}, {100 * high:.1f}] & {r.correct} of 20" in text
    metrics = json.loads((out / "metrics.json").read_text())
    p50, ends = metrics["latency_ms"]["p50"], metrics["latency_interval_ms"]["p50"]
    assert f"{p50:.3g} & [{ends[0]:.3g}, {ends[1]:.3g}]" in text and ends[0] <= p50 <= ends[1]
    parity = report.card["parity"]
    assert f"of {parity['spikes']} spikes in {parity['steps']} time-steps none differed" in text
    assert {"orchard2015nmnist", "wilson1927", "plif", "fang2021plif"} <= set(re.findall(r"\\cite\{(\w+)\}", text))
    keys = re.findall(r"^@\w+\{(\w+),$", (out / "latex" / "references.bib").read_text(), re.MULTILINE)
    assert set(SETS.values()) <= set(keys) and f"Version {__version__}," in (out / "latex/references.bib").read_text()
    assert set(make_line_charts(report)) == {"accuracy-by-steps", "accuracy-by-events", "early-exit", "calibration"}
    drawn = set(re.findall(r"includegraphics\{([\w-]+)\.pdf", text))
    assert drawn == {*make_line_charts(report), "confusion", "latency"} and drawn <= set(FIGURES)


def test_names_of_others_are_text_in_a_paper_and_nothing_of_an_older_one_stays(
    results: tuple[Path, EvaluationReport], tmp_path: Path
) -> None:
    shutil.copytree(results[0] / "latex", tmp_path / "latex")
    (tmp_path / "latex" / "mine.tex").write_text("kept")
    bad = named(results[1], EVIL)
    artifact: ArtifactIdentity = {"path": EVIL[0]}
    result = replace(bad.evaluation, artifact=artifact, data=EVIL[-1])
    write_latex(replace(bad, evaluation=result, exits=[], activity=None, times=([], [])), tmp_path)
    text = check_latex(tmp_path / "latex")
    assert r"\textbackslash{}input\{/etc/passwd\}" in text and "U+624BU+52E2" in text and r"\L{}\'{o}d\'{z}" in text
    left = {path.name for path in (tmp_path / "latex").iterdir()}
    assert "mine.tex" in left and not left & {"early-exit.pdf", "layers.tex", "latency.pdf"}


@pytest.mark.machines
@pytest.mark.skipif(not has_latex(), reason="no LaTeX on this machine (apt-get install texlive-latex-recommended)")
@pytest.mark.parametrize("classes", (LONG, EVIL), ids=("long names", "evil names"))
def test_a_paper_compiles_and_nothing_runs_into_the_margin(
    results: tuple[Path, EvaluationReport], classes: tuple[str, ...], tmp_path: Path
) -> None:
    write_latex(named(results[1], classes), tmp_path)
    log = compile_latex(tmp_path / "latex")
    assert "Overfull" not in log and "undefined" not in log and "Output written on results.pdf" in log


def test_a_paper_needs_a_folder_and_matplotlib_and_an_evaluation_neither(
    digits_onnx: Path, nmnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed
    line = ["eval", str(digits_onnx), "--data", f"nmnist:{nmnist}", "--limit", "2", "--engine", "onnxruntime"]
    assert run([*line, "--latex"]) == 2
    assert "name a folder for them with --out DIR" in capsys.readouterr().err
    line += ["--out", str(tmp_path / "out")]
    assert run([*line, "--latex"]) == 2 and not (tmp_path / "out").exists(), "it says so before it works"
    # its last line: another session of this process may have come first, which is said
    assert capsys.readouterr().err.splitlines()[-1] == (
        "plif: error: plif eval --latex needs an extra that is not installed: pip install 'plif[export]'"
    )
    assert run(line) == 0 and (tmp_path / "out" / "confusion.png").is_file()


def test_what_is_published_names_no_folder_of_this_machine_and_no_row_twice(
    results: tuple[Path, EvaluationReport], digits_onnx: Path, nmnist: Path
) -> None:
    out = results[0]
    card, page = ((out / name).read_text() for name in ("README.md", "report.html"))
    for text in (card, page, check_latex(out / "latex")):
        assert not any(str(folder) in text for folder in (digits_onnx.parent, nmnist, "/home/ann"))
    assert "plif eval m.onnx --data nmnist:" in card and "plif train --data nmnist&#58;data" in card
    rows = re.findall(r"^\| (.+?) \|", card.split("|---|---|")[1], re.MULTILINE)
    assert len(rows) == len(set(rows)) and {"accuracy", "provenance: accuracy"} <= set(rows)
    head = dict(line.split(": ", 1) for line in card.split("---\n")[1].splitlines())
    task = json.loads(head["model-index"])[0]["results"][0]["task"]["type"]
    assert task == json.loads(head["pipeline_tag"]) == "other", "events are no images"
