"""Deciding: whole spikes, the lowest class among equals, and resets when they are due."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.base.latency import Latencies
from runtime.core.stream.decide import Rules
from tests.rules import Asked


def test_sum_adds_up_and_breaks_ties_low_and_says_nothing_without_evidence() -> None:
    rule = Asked("sum")
    assert [rule.add(c) for c in ((0, 0, 0), (0, 2, 2), (0, 0, 1))] == [None, 1, 2]
    assert Asked("sum").add((1, 0, 0)) == 0


def test_leak_forgets_with_its_time_constant() -> None:
    rule = Asked("leak:100ms", 2)
    rule.add((10, 0), 0)
    assert rule.add((0, 3.6), 100_000) == 0  # 10 / e = 3.68
    assert rule.add((0, 0.2), 0) == 1


def test_kofn_holds_its_answer_until_another_class_has_k_of_n() -> None:
    rule = Asked("kofn:2/3", 2)
    winners = [rule.add(c) for c in ((1, 0), (1, 0), (0, 1), (0, 0), (0, 1), (0, 1))]
    assert winners == [None, 0, 0, 0, 1, 1]


def test_every_T_resets_after_T_steps() -> None:
    asked = Asked(reset="every:3")
    assert [asked.due(5, 1000) for _ in range(7)] == [[due] for due in (0, 0, 0, 1, 0, 0, 1)]


def test_silence_resets_when_events_come_again_after_it() -> None:
    asked = Asked(reset="silence:20")
    assert [asked.due(n, 10_000) for n in (5, 0, 0, 5, 0, 5, 5)] == [[due] for due in (0, 0, 0, 1, 0, 0, 0)]
    assert asked.due(5, 30_000_000) == [True]  # a gap in time is silence too
    assert asked.due(5, -30_000_000, gap=True) == [True]  # and so is a clock that was set back


def test_never_and_recording_do_nothing_on_their_own() -> None:
    for text in ("never", "recording"):
        asked = Asked(reset=text)
        assert not any(asked.due(n, 10_000_000, n == 0)[0] for n in (0, 5, 0, 0, 5))


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
        Rules(["a"], 1, 1, text)


@pytest.mark.parametrize("text", ("sometimes", "every", "every:0", "every:-1", "silence:", "silence:x", "never:1"))
def test_policies_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(PlifError, match="expected never, recording"):
        Rules(["a"], 1, 1, "sum", text)


def test_percentiles_are_right_within_a_percent_or_so() -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(1, 1, 20_000)
    latencies = Latencies()
    for value in values:
        latencies.add(value)
    for percent in (50, 99):
        assert latencies.percentile(percent) == pytest.approx(np.percentile(values, percent), rel=0.015)
    assert Latencies().to_dict() == {"p50": None, "p99": None}


def add(rule: Asked, *steps: tuple[float, ...], dt_us: int = 1000) -> list[int | None]:
    return [rule.add(step, dt_us) for step in steps]


def test_a_margin_keeps_silent_until_the_lead_is_large_enough() -> None:
    rule = Asked("sum,margin=0.3", 3, voters=10)
    assert add(rule, (3, 1, 0)) == [None]  # leads by 2 of 10
    assert add(rule, (6, 0, 0)) == [0]  # 9 - 1 of 20: 0.4
    assert add(rule, (0, 5, 0)) == [None]  # 9 - 6 of 30


def test_with_release_an_answer_stays_while_it_leads_a_little() -> None:
    rule = Asked("leak:1s,margin=0.3,release=0.05", 2, voters=10)
    assert add(rule, (5, 0), (0, 3), dt_us=0) == [0, 0]  # 5 - 3 of 20: 0.1
    assert add(rule, (0, 2), dt_us=0) == [None]
    kofn = Asked("kofn:2/3,release=1", 2)
    assert add(kofn, (1, 0), (1, 0), (0, 0), (0, 0), (0, 0)) == [None, 0, 0, 0, None]


def test_a_margin_of_kofn_is_that_of_each_step() -> None:
    rule = Asked("kofn:2/3,margin=0.2", 2, voters=10)
    assert add(rule, (5, 4), (5, 4), (5, 4)) == [None] * 3
    assert add(rule, (5, 3), (5, 3)) == [None, 0]


def test_the_score_is_the_share_of_what_could_have_been() -> None:
    for text, expected in (("sum", 8 / 30), ("leak:1000s", 8 / 30), ("kofn:1/2", 3 / 20)):
        rule = Asked(text, 2, voters=10)
        add(rule, (5, 0), (3, 0), (0, 0), dt_us=0)
        assert rule.share == pytest.approx(expected), text


def test_idle_is_a_rate_below_the_threshold_smoothed_over_a_fifth_of_a_second() -> None:
    rule = Asked("sum,idle=2k")

    def idle(events: int, dt_us: int) -> bool:
        rule.add((1, 0, 0), dt_us, events)
        return rule.idle

    assert not any(idle(50, 10_000) for _ in range(20))  # 5000 a second
    seen = [idle(5, 10_000) for _ in range(60)]  # 500 a second
    assert not seen[0] and seen[-1] and sorted(seen) == seen
    assert 10 < seen.index(True) < 40


def test_copies_of_a_policy_are_reset_one_after_the_other() -> None:
    asked = Asked(reset="every:8/4")
    assert asked.rules.rows == 4
    resets = [
        [step for step, due in enumerate(row) if due]
        for row in zip(*(asked.due(5, 1000) for _ in range(30)), strict=True)
    ]
    assert resets == [[2, 10, 18, 26], [4, 12, 20, 28], [6, 14, 22], [8, 16, 24]]


@pytest.mark.parametrize(
    ("decide", "reset"),
    [("own,idle=auto", "every:6/3"), ("kofn:2/3,idle=2k", "silence:20"), ("sum,exit=0.2", "decay:5ms")],
)
def test_what_rules_kept_is_taken_or_refused_whatever_it_holds(decide: str, reset: str) -> None:
    """A state may be anybody's file: numbers in it that no stream has are refused, and others harm nothing."""
    rng, asked = np.random.default_rng(0), Asked(decide, 3, 10, reset, other=True)
    for _ in range(9):
        asked.add((5, 2, 0))
    kept, refused = asked.rules.saved_state, 0
    edges = (
        np.array([0, 1, -1, 1 << 62, -(1 << 63), 3], np.int64).tobytes()
        + np.array([np.nan, np.inf, -1.0, 0.1]).tobytes()
    )
    for _ in range(3000):
        edited, at, what = kept.copy(), 8 * int(rng.integers(len(kept) // 8)), 8 * int(rng.integers(10))
        edited[at : at + 8] = np.frombuffer(edges[what : what + 8], np.uint8)
        try:
            asked.rules.saved_state = edited
        except PlifError as error:
            refused += 1
            assert str(error).startswith("plif_restore: ")
            continue
        assert asked.add((1, 0, 0)) in (None, 0, 1, 2) and np.isfinite(asked.share)
    assert refused > 100  # most of the bytes belong to rows that this session does not have
    asked.rules.saved_state = kept
    assert (asked.rules.saved_state == kept).all()
