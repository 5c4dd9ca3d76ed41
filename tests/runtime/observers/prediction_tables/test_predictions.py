"""The files of an evaluation."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.observers.prediction_tables import FILES, read_csv, write_predictions

CLASSES = ["up", "=down", "left, right"]
HEAD = "sample,path,truth,predicted,score_a,margin,steps,events,error,why,sensor,sensor_from,events_used,events_lost\n"
FATE: dict[str, Any] = {
    "events": 1200,
    "sensor": (34, 34),
    "sensor_from": "asked",
    "events_used": 1100,
    "events_lost": 13,
}
PREDICTIONS = [
    Prediction(0, "a/0.bin", 0, (0.1 + 0.2, 0.25, 0.25), steps=8, events=1200, milliseconds=0.5),
    Prediction(1, "a,b/1.bin", 2, (0.5, 0.5, 1 / 3), steps=8, events=0, milliseconds=0.25),
    Prediction(2, "=c/2.bin", 1, error="c/2.bin: not a recording"),
    Prediction(3, "d/3.bin", None, (0.0, 0.0, 1.0), steps=9),
    Prediction(4, "e/4.bin", 0, (0.0, 0.0, 0.0), steps=8, why="not sure", **FATE),
    Prediction(5, "e/5.bin", 0, (0.0, 0.1, 0.0), steps=8, **FATE),
]


def test_what_is_written_is_read_again_bit_for_bit(tmp_path: Path) -> None:
    paths = write_predictions(iter(PREDICTIONS), CLASSES, tmp_path / "out")
    assert [path.name for path in paths] == list(FILES)
    classes, found = read_csv(paths[0])
    assert classes == ["up", "'=down", "left, right"], "as a spreadsheet may show them"
    for one, before in zip(found, PREDICTIONS, strict=True):
        assert (one.sample, one.truth, one.scores) == (before.sample, before.truth, before.scores)
        assert one == replace(before, path=one.path, milliseconds=None)
    lines = [json.loads(line) for line in paths[1].read_text().splitlines()]
    assert [line["predicted"] for line in lines] == ["up", "up", None, "left, right", None, "=down"], (
        "the lowest class among equals"
    )
    assert lines[2]["error"] == "c/2.bin: not a recording" and lines[2]["path"] == "=c/2.bin"
    assert lines[0]["margin"] == 0.30000000000000004 - 0.25 and lines[1]["margin"] == 0.0
    assert [line["why"] for line in lines[3:]] == [
        None,
        "not sure; 13 of 1200 events were lost",
        "13 of 1200 events were lost",
    ]
    assert lines[3]["margin"] == 1.0 and lines[0]["scores"] == [0.30000000000000004, 0.25, 0.25]


def test_the_columns_of_the_contract_come_first_and_no_clock_is_among_them(tmp_path: Path) -> None:
    table, _, times = write_predictions(PREDICTIONS, CLASSES, tmp_path)
    rows = list(csv.reader(table.read_text().splitlines()))
    assert rows[0][:4] == ["sample", "path", "truth", "predicted"] and not any("ms" in name for name in rows[0])
    assert rows[3] == ["2", "'=c/2.bin", "'=down", *[""] * 5, "0", "", "c/2.bin: not a recording", *[""] * 5]
    assert rows[4][2] == "", "nobody knows its class"
    assert times.read_text().splitlines()[:2] == ["sample,milliseconds", "0,0.5"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "first line"),
        ("sample,predicted\n0,1\n", "first line"),
        (HEAD + "0,p,b,a,1,,8,,,,,,,\n", "line 2"),
        (HEAD + "0,p,a,a,x,,8,,,,,,,\n", "line 2"),
        (HEAD + "0,p,a,a,1,,8,,,,34by34,,,\n", "WIDTHxHEIGHT"),
        (HEAD + "0,p\n", "line 2"),
    ],
)
def test_another_table_is_refused_with_its_line(text: str, where: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(PlifError, match=where):
        list(read_csv(path)[1])
