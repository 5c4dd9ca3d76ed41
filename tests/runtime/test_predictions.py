"""The files of an evaluation, and the numbers in metrics.json."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime.base.errors import PlifError
from runtime.base.latency import Latencies
from runtime.measure.evaluate.predictions import FILES, Prediction, read_csv, write_predictions
from runtime.measure.metrics import class_metrics, list_sha256, macro_f1, wilson

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


def test_the_interval_is_wilson_s() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I: method 3
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson(right, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0) and wilson(7, 7)[1] == 1.0


def test_precision_recall_and_f1_are_those_of_a_count_by_hand() -> None:
    rows = class_metrics([[3, 1, 0], [2, 4, 0], [0, 0, 0]], ["a", "b", "c"])
    assert rows[0] == {"class": "a", "samples": 4, "precision": 0.6, "recall": 0.75, "f1": pytest.approx(2 / 3)}
    assert rows[1] == {"class": "b", "samples": 6, "precision": 0.8, "recall": pytest.approx(2 / 3), "f1": 8 / 11}
    assert rows[2] == {"class": "c", "samples": 0, "precision": None, "recall": None, "f1": None}
    assert macro_f1(rows) == pytest.approx((2 / 3 + 8 / 11) / 2) and macro_f1(rows[2:]) is None
    assert math.isclose(rows[0]["f1"], 2 * 0.6 * 0.75 / (0.6 + 0.75))


def test_the_hash_of_a_list_knows_order_and_classes_but_not_the_folder() -> None:
    one = list_sha256([("/data/x/0.bin", 0), ("/data/x/1.bin", 1)], "/data")
    assert one == list_sha256([("/mnt/x/0.bin", 0), ("/mnt/x/1.bin", 1)], "/mnt/")
    for other in ([("x/1.bin", 1), ("x/0.bin", 0)], [("x/0.bin", 0), ("x/1.bin", 0)], [("x/0.bin", 0)]):
        assert one != list_sha256(other)


def test_the_interval_of_a_percentile_is_that_of_the_textbooks() -> None:
    times = Latencies()
    for ms in range(1, 101):
        times.add(ms)
    low, high = times.interval(50)
    assert (low, high) == (pytest.approx(40, rel=0.01), pytest.approx(61, rel=0.01)), (
        "of 100 values the 40th and the 61st"
    )
    low, high = times.interval(99)
    assert low == pytest.approx(97, rel=0.01) and high is None, "a hundred values say of no time that 99 % are below it"
    assert Latencies().intervals() == {"p50": [None, None], "p99": [None, None]}
