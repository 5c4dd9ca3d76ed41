"""The two meters that people see: events a second, and the histogram of latencies."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.base.latency import Latencies
from runtime.observers.terminal.event_rate import EventRate


def test_the_event_rate_is_in_the_time_of_the_recording() -> None:
    meter = EventRate()
    assert meter.per_s is None
    for step in range(200):  # 100 events every 10 ms
        meter.update(10_000 * step, 100 * step)
    assert meter.per_s == pytest.approx(10_000)


@pytest.mark.parametrize("gap_us", (0, 1, -5_000_000, 60_000_000))
def test_the_event_rate_follows_a_change_within_a_second_and_survives_clocks_that_jump(gap_us: int) -> None:
    meter = EventRate()
    for step in range(100):
        meter.update(10_000 * step, 100 * step)
    for step in range(100):  # ten times quieter, after a jump
        meter.update(990_000 + gap_us + 10_000 * (step + 1), 9_900 + 10 * (step + 1))
    assert meter.per_s == pytest.approx(1_000, rel=0.02)


def test_the_histogram_holds_every_latency_once_where_it_belongs() -> None:
    rng = np.random.default_rng(0)
    values = 10 ** rng.uniform(-2, 2, 5000)
    latency = Latencies()
    for ms in values:
        latency.add(float(ms))
    edges, counts = latency.histogram(10)
    assert sum(counts) == len(values) and len(edges) == len(counts) + 1
    expected, _ = np.histogram(values, edges)
    assert np.abs(expected - np.array(counts)).max() < 0.15 * max(counts), "bins of 1 % at the edges aside"
    assert Latencies().histogram() == ([], [])
