"""The numbers in metrics.json."""

from __future__ import annotations

import math

import pytest

from runtime.core.base.latency import Latencies
from runtime.core.measure.metrics import compute_class_metrics, hash_sample_list, macro_f1, wilson_interval


def test_the_interval_is_wilson_s() -> None:
    # R. G. Newcombe, Statistics in Medicine 17 (1998), table I: method 3
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(right, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0) and wilson_interval(7, 7)[1] == 1.0


def test_precision_recall_and_f1_are_those_of_a_count_by_hand() -> None:
    rows = compute_class_metrics([[3, 1, 0], [2, 4, 0], [0, 0, 0]], ["a", "b", "c"])
    assert rows[0] == {"class": "a", "samples": 4, "precision": 0.6, "recall": 0.75, "f1": pytest.approx(2 / 3)}
    assert rows[1] == {"class": "b", "samples": 6, "precision": 0.8, "recall": pytest.approx(2 / 3), "f1": 8 / 11}
    assert rows[2] == {"class": "c", "samples": 0, "precision": None, "recall": None, "f1": None}
    assert macro_f1(rows) == pytest.approx((2 / 3 + 8 / 11) / 2) and macro_f1(rows[2:]) is None
    assert math.isclose(rows[0]["f1"], 2 * 0.6 * 0.75 / (0.6 + 0.75))


def test_the_hash_of_a_list_knows_order_and_classes_but_not_the_folder() -> None:
    one = hash_sample_list([("/data/x/0.bin", 0), ("/data/x/1.bin", 1)], "/data")
    assert one == hash_sample_list([("/mnt/x/0.bin", 0), ("/mnt/x/1.bin", 1)], "/mnt/")
    for other in ([("x/1.bin", 1), ("x/0.bin", 0)], [("x/0.bin", 0), ("x/1.bin", 0)], [("x/0.bin", 0)]):
        assert one != hash_sample_list(other)


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
