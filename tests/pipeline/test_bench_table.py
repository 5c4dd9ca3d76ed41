"""plif bench --data: one table of times, size, accuracy, changed decisions and synaptic operations."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

import runtime
from plif_export import export
from runtime.core.cli.main import run
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.observers.paired_networks.paired import compare_decisions
from tests.conftest import REPOSITORY

DATA = "digits:12"


@pytest.mark.large
def test_precisions_stand_side_by_side_in_three_formats(
    tmp_path: Path, digits_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = export(REPOSITORY / "models" / "nmnist-digits.pt", tmp_path / "a|b.onnx", verify=False).path
    out = tmp_path / "table"
    arguments = ["bench", str(shipped), str(digits_onnx), "--engine", "onnxruntime", "--data", DATA, "--seconds", "0.1"]
    assert run([*arguments, "--out", str(out)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].split()[:3] == ["artifact", "engine", "precision"] and "SynOps" in printed[0]
    rows = json.loads((out / "bench.json").read_text())
    results = [evaluate(runtime.load(path, "onnxruntime"), DATA) for path in (shipped, digits_onnx)]
    assert [row["accuracy"] for row in rows] == [result.accuracy for result in results]
    first, second = results
    paired = compare_decisions(list(zip(first.truths, first.predictions, second.predictions, strict=True)))
    assert (rows[0]["decisions_changed"], rows[0]["mcnemar_p"]) == (None, None)
    assert (rows[1]["decisions_changed"], rows[1]["mcnemar_p"]) == (paired.changed, paired.p)
    assert paired.changed > 6  # a random network against a trained one
    assert all(row["synops"] > 0 and row["bytes"] == path.stat().st_size
               for row, path in zip(rows, (shipped, digits_onnx), strict=True))  # fmt: skip
    with (out / "bench.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in table] == [row["accuracy"] for row in rows]
    lines = (out / "bench.md").read_text().splitlines()
    assert len(lines) == 4 and "a&#124;b.onnx" in lines[2] and len({line.count("|") for line in lines}) == 1


def test_without_data_it_is_the_table_of_times(digits_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(digits_onnx), "--engine", "onnxruntime", "--seconds", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "p50 ms" in printed and "accuracy" not in printed and "SynOps" not in printed
