"""Deciding: whole spikes, the lowest class among equals, and resets when they are due."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.base.errors import PlifError
from runtime.base.latency import Latencies
from runtime.stream.decide import DecisionRule, Evidence, smooth_rate
from runtime.stream.reset import AFRESH, ResetPolicy


def make_evidence(text: str, classes: int, voters: int = 1) -> Evidence:
    return DecisionRule.parse(text).evidence(classes, voters)


def due(policy: ResetPolicy, events: int, dt_us: int, discontinuity: bool) -> bool:
    return policy.before(events, dt_us, discontinuity, dt_us) == AFRESH


def test_sum_adds_up_and_breaks_ties_low_and_says_nothing_without_evidence() -> None:
    rule = make_evidence("sum", 3)
    assert rule.add(np.array([0.0, 0, 0]), 1000) is None
    assert rule.add(np.array([0.0, 2, 2]), 1000) == 1
    assert rule.add(np.array([0.0, 0, 1]), 1000) == 2
    rule.reset()
    assert rule.add(np.array([1.0, 0, 0]), 1000) == 0


def test_leak_forgets_with_its_time_constant() -> None:
    rule = make_evidence("leak:100ms", 2)
    rule.add(np.array([10.0, 0]), 0)
    assert rule.add(np.array([0.0, 3.6]), 100_000) == 0  # 10 / e = 3.68
    assert rule.add(np.array([0.0, 0.2]), 0) == 1


def test_kofn_holds_its_answer_until_another_class_has_k_of_n() -> None:
    rule = make_evidence("kofn:2/3", 2)
    winners = [rule.add(np.array(c, float), 1000) for c in ([1, 0], [1, 0], [0, 1], [0, 0], [0, 1], [0, 1])]
    assert winners == [None, 0, 0, 0, 1, 1]


def test_every_T_resets_after_T_steps() -> None:
    policy = ResetPolicy.parse("every:3")
    assert [due(policy, 5, 1000, False) for _ in range(7)] == [False, False, False, True, False, False, True]


def test_silence_resets_when_events_come_again_after_it() -> None:
    policy = ResetPolicy.parse("silence:20")
    events = [5, 0, 0, 5, 0, 5, 5]
    assert [due(policy, n, 10_000, False) for n in events] == [False, False, False, True, False, False, False]
    assert due(policy, 5, 30_000_000, True) is True  # a gap in time is silence too
    assert due(policy, 5, -30_000_000, True) is True  # and so is a clock that was set back


def test_never_and_recording_do_nothing_on_their_own() -> None:
    for text in ("never", "recording"):
        policy = ResetPolicy.parse(text)
        assert not any(due(policy, n, 10_000_000, n == 0) for n in (0, 5, 0, 0, 5))


@pytest.mark.parametrize(
    "text",
    (
        "coin",
        "sum:3",
        "leak:1.5us",
        "leak:²s",
        "leak:fast",
        "leak:0ms",
        "kofn:3/2",
        "kofn:0/2",
        "kofn:x",
        pytest.param("leak:" + "9" * 400 + "s", id="long"),
    ),
)
def test_rules_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(PlifError, match="expected"):
        make_evidence(text, 3)


def test_a_time_constant_is_a_time_as_everywhere_else() -> None:
    for text, us in (("500ms", 500_000), ("1.5s", 1_500_000), ("20us", 20), ("0.25ms", 250)):
        assert DecisionRule.parse(f"leak:{text}").tau_us == ResetPolicy.parse(f"decay:{text}").tau_us == us
    for text in ("9" * 400 + "s", "0s", "soon", "²s", ""):
        with pytest.raises(PlifError, match=r"--reset decay:.*the time constant.*expected"):
            ResetPolicy.parse(f"decay:{text}")


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


def add(rule: Evidence, *steps: list[float], dt_us: int = 1000) -> list[int | None]:
    return [rule.add(np.array(step, float), dt_us) for step in steps]


def test_a_margin_keeps_silent_until_the_lead_is_large_enough() -> None:
    rule = make_evidence("sum,margin=0.3", 3, voters=10)
    assert add(rule, [3, 1, 0]) == [None]  # leads by 2 of 10
    assert add(rule, [6, 0, 0]) == [0]  # 9 - 1 of 20: 0.4
    assert add(rule, [0, 5, 0]) == [None]  # 9 - 6 of 30


def test_with_release_an_answer_stays_while_it_leads_a_little() -> None:
    rule = make_evidence("leak:1s,margin=0.3,release=0.05", 2, voters=10)
    assert add(rule, [5, 0], [0, 3], dt_us=0) == [0, 0]  # 5 - 3 of 20: 0.1
    assert add(rule, [0, 2], dt_us=0) == [None]
    kofn = make_evidence("kofn:2/3,release=1", 2)
    assert add(kofn, [1, 0], [1, 0], [0, 0], [0, 0], [0, 0]) == [None, 0, 0, 0, None]


def test_a_margin_of_kofn_is_that_of_each_step() -> None:
    rule = make_evidence("kofn:2/3,margin=0.2", 2, voters=10)
    assert add(rule, [5, 4], [5, 4], [5, 4]) == [None] * 3
    assert add(rule, [5, 3], [5, 3]) == [None, 0]


def test_the_score_is_the_share_of_what_could_have_been() -> None:
    for text, expected in (("sum", 8 / 30), ("leak:1000s", 8 / 30), ("kofn:1/2", 3 / 20)):
        rule = make_evidence(text, 2, voters=10)
        add(rule, [5, 0], [3, 0], [0, 0], dt_us=0)
        assert rule.share == pytest.approx(expected), text


def test_idle_is_a_rate_below_the_threshold_smoothed_over_a_fifth_of_a_second() -> None:
    per_s = DecisionRule.parse("sum,idle=2k").idle_per_s
    assert per_s == 2000
    state = 0.0, 0.0

    def idle(events: int, dt_us: int) -> bool:
        nonlocal state
        state = smooth_rate(state, events, dt_us)
        return 1e6 * state[0] / state[1] < per_s

    assert not any(idle(50, 10_000) for _ in range(20))  # 5000 a second
    seen = [idle(5, 10_000) for _ in range(60)]  # 500 a second
    assert not seen[0] and seen[-1] and sorted(seen) == seen
    assert 10 < seen.index(True) < 40


def test_copies_of_a_policy_are_reset_one_after_the_other() -> None:
    policy = ResetPolicy.parse("every:8/4")
    assert policy.rows == 4
    for i in range(4):
        copy = policy.of_row(i)
        resets = [step for step in range(30) if due(copy, 5, 1000, False)]
        assert resets == [
            2 * (i + 1),
            2 * (i + 1) + 8,
            2 * (i + 1) + 16,
            *([26] if i == 0 else []),
            *([28] if i == 1 else []),
        ]
