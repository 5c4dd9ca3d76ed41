"""Deciding: whole spikes, the lowest class among equals, and resets when they are due."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.decide import make_rule
from runtime.errors import PlifError
from runtime.latency import Latencies
from runtime.reset import ResetPolicy


def test_sum_adds_up_and_breaks_ties_low_and_says_nothing_without_evidence() -> None:
    rule = make_rule("sum", 3)
    assert rule.add(np.array([0.0, 0, 0]), 1000) is None
    assert rule.add(np.array([0.0, 2, 2]), 1000) == 1
    assert rule.add(np.array([0.0, 0, 1]), 1000) == 2
    rule.reset()
    assert rule.add(np.array([1.0, 0, 0]), 1000) == 0


def test_leak_forgets_with_its_time_constant() -> None:
    rule = make_rule("leak:100ms", 2)
    rule.add(np.array([10.0, 0]), 0)
    assert rule.add(np.array([0.0, 3.6]), 100_000) == 0  # 10 / e = 3.68
    assert rule.add(np.array([0.0, 0.2]), 0) == 1


def test_kofn_holds_its_answer_until_another_class_has_k_of_n() -> None:
    rule = make_rule("kofn:2/3", 2)
    winners = [rule.add(np.array(c, float), 1000) for c in ([1, 0], [1, 0], [0, 1], [0, 0], [0, 1], [0, 1])]
    assert winners == [None, 0, 0, 0, 1, 1]


def test_every_T_resets_after_T_steps() -> None:
    policy = ResetPolicy.parse("every:3")
    assert [policy.due(5, 1000, False) for _ in range(7)] == [False, False, False, True, False, False, True]


def test_silence_resets_when_events_come_again_after_it() -> None:
    policy = ResetPolicy.parse("silence:20")
    events = [5, 0, 0, 5, 0, 5, 5]
    assert [policy.due(n, 10_000, False) for n in events] == [False, False, False, True, False, False, False]
    assert policy.due(5, 30_000_000, True) is True  # a gap in time is silence too
    assert policy.due(5, -30_000_000, True) is True  # and so is a clock that was set back


def test_never_and_recording_do_nothing_on_their_own() -> None:
    for text in ("never", "recording"):
        policy = ResetPolicy.parse(text)
        assert not any(policy.due(n, 10_000_000, n == 0) for n in (0, 5, 0, 0, 5))


@pytest.mark.parametrize("text", ("coin", "sum:3", "leak:fast", "leak:0ms", "kofn:3/2", "kofn:0/2", "kofn:x"))
def test_rules_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(PlifError, match="expected"):
        make_rule(text, 3)


@pytest.mark.parametrize("text", ("sometimes", "every", "every:0", "every:-1", "silence:", "silence:x", "never:1"))
def test_policies_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(PlifError, match="expected never, recording"):
        ResetPolicy.parse(text)


def test_percentiles_are_right_within_a_percent_or_so() -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(1, 1, 20_000)
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    for percent in (50, 99):
        assert latencies.percentile(percent) == pytest.approx(np.percentile(values, percent), rel=0.015)
    assert Latencies().to_dict() == {"p50": None, "p99": None}
