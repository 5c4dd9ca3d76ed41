"""Decisions are those of the specification, for random scenes and every rule and reset policy."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from tests.specification.stream import Decision, decisions_of, frames_of, require_silence
from tests.specification.subject import CLASSES, VOTERS, VOTING, Subject, T, network
from tests.specification.text import Refused
from tests.specification.view import Event

SENSOR = (VOTING[2], VOTING[1])


@cache
def scene(seed: int, parts: str = "") -> list[Event]:
    """Stretches with most events for one class, noise, pauses and jumps in time: those that are asked for, or random ones."""
    rng, t, events = np.random.default_rng(seed), 7_000_000, list[Event]()
    for what in parts.split() or rng.permutation([*CLASSES, "other", "noise", "noise", "pause", "pause", "back", "on"]):
        lasts_us = int(rng.integers(40_000, 250_000)) * (2 if what == "other" else 3 if parts else 1)
        if what in ("pause", "back", "on"):
            t += {"pause": lasts_us, "back": -1_300_000, "on": 1_400_000}[what]
            continue
        if what == "rest":
            events.append(Event(t, 0, 0, True))
            t += 900_000
            continue
        most = None if what == "noise" else CLASSES.index(what)
        for at in np.sort(rng.integers(0, lasts_us, lasts_us // (12_000 if most is None else 700))).tolist():
            row = int(rng.integers(len(CLASSES))) if most is None or rng.random() < 0.4 else most
            events.append(Event(t + at - 2000 * int(rng.random() < 0.05), int(rng.integers(VOTERS)), row, True))
        t += lasts_us
    return events


@cache
def expected(decide: str, reset: str, framing: str, seed: int, parts: str) -> list[Decision]:
    frames, _ = frames_of(framing, scene(seed, parts), VOTING, SENSOR)
    return decisions_of(frames, decide, reset, network, CLASSES, VOTERS, T)


def compare(
    subject: Subject, decide: str, reset: str = "never", framing: str = "duration:10ms", seeds: int = 2, parts: str = ""
) -> list[Decision]:
    """Compares what is said in a few scenes; gives all of it."""
    found = []
    for seed in range(seeds):
        said = subject.decisions(framing, [scene(seed, parts)], decide, reset)
        specified = expected(decide, reset, framing, seed, parts)
        assert len(said) == len(specified) > 20
        for n, (one, other) in enumerate(zip(said, specified, strict=True)):
            told = other._replace(is_final=one.is_final) if one.is_final is None else other
            assert one == told._replace(score=pytest.approx(other.score, abs=1e-9)), (
                decide,
                reset,
                framing,
                seed,
                n,
            )
        found += specified
    return found


def labels(said: list[Decision]) -> set[str]:
    """What was said: classes, idle, not sure."""
    return {str(d.why) if d.index is None else CLASSES[d.index] for d in said}


@pytest.mark.parametrize("framing", ["count:T=5", "time:T=5", "duration:5ms,T=5", "events:n=9,max=1s"])
def test_a_framing_of_a_whole_recording_has_no_silence(subject: Subject, framing: str) -> None:
    for rule in ("sum", "leak,idle=auto", "kofn,idle=0", "own,idle=2k", "cusum"):
        for reset in ("never", "recording", "every:5", "silence:9", "decay:9ms"):
            try:
                require_silence(framing, rule, reset)
            except Refused:
                with pytest.raises(PlifError, match="silence"):
                    subject.decisions(framing, [scene(0)[:50]], rule, reset)
            else:
                assert subject.decisions(framing, [scene(0)[:50]], rule, reset)


FRAMINGS = ("duration:10ms", "duration:40ms,every=10ms,value=binary", "events:n=25,max=20ms")


@pytest.mark.parametrize("framing", [*FRAMINGS, "count:T=60", "time:T=50", "duration:20ms,T=60"])
@pytest.mark.parametrize("rule", ["sum", "leak:120ms,margin=0.2", "kofn:3/5", "own", "cusum"])
def test_each_rule_with_each_framing(subject: Subject, framing: str, rule: str) -> None:
    assert len(labels(compare(subject, rule, framing=framing))) > 1


@pytest.mark.parametrize("options", ["", ",margin=0.01", ",margin=0.1,release=0.02", ",margin=0.05,release=0"])
@pytest.mark.parametrize("rule", ["sum", "leak:30ms", "leak", "leak:3s"])
def test_sum_and_leak_with_margin_and_release(subject: Subject, rule: str, options: str) -> None:
    assert len(labels(compare(subject, rule + options))) > 1


@pytest.mark.parametrize(
    "rule", ["kofn", "kofn:1/1", "kofn:2/9,margin=0.3", "kofn:4/6,release=2", "kofn:3/4,margin=0.5,release=3"]
)
def test_kofn_with_margin_and_release(subject: Subject, rule: str) -> None:
    assert len(labels(compare(subject, rule))) > 2


def labels_with_other(subject: Subject, rule: str) -> set[str]:
    return labels(
        compare(subject, rule) + compare(subject, rule, seeds=1, parts="a other back other b other on other pause")
    )


@pytest.mark.parametrize(
    "margins", ["", ",margin=0.05,release=0.02", ",margin=0.1,release=0.4", ",margin=0.02,release=0"]
)
@pytest.mark.parametrize(("tau", "other"), [("", ""), (":30ms", ",other=50ms"), (":200ms", ",other=1us")])
def test_own_and_the_class_other(subject: Subject, margins: str, tau: str, other: str) -> None:
    rule = f"own{tau}{margins}{other}"
    said = labels_with_other(subject, rule)
    assert "not sure" in said and len(said) > 3


@pytest.mark.parametrize(
    "margins",
    ["", ",margin=0.3,drift=0.05", ",margin=0.02,release=0.4,drift=0", ",margin=0,drift=0.4", ",margin=0.02,most=0.1"],
)
@pytest.mark.parametrize(("tau", "other"), [("", ""), (":30ms", ",other=50ms"), (":900ms", ",other=1us,soft=0.1")])
def test_cusum_and_the_class_other(subject: Subject, margins: str, tau: str, other: str) -> None:
    rule = f"cusum{tau}{margins}{other}"
    said = labels_with_other(subject, rule)
    assert "not sure" in said and len(said) > 2


def test_a_ceiling_ends_a_label_sooner(subject: Subject) -> None:
    """Never below the margin of its class, which could not be reached otherwise. The score is a share of the last votes."""
    rule = "cusum:60ms,margin=0.02,drift=0.05"
    found = [compare(subject, rule + most) for most in ("", ",most=0.1", ",most=0.01", ",most=0.02")]
    labelled = [sum(d.index is not None for d in said) for said in found]
    assert labelled[0] > labelled[1] > 0 and found[2] == found[3]
    assert max(d.score for d in found[3]) > 0.3 and all(d.score <= 1 for said in found for d in said)


@pytest.mark.parametrize("rule", ["sum", "leak:60ms", "kofn:2/5", "own:60ms", "cusum:60ms"])
def test_a_margin_for_each_class(subject: Subject, rule: str) -> None:
    """With a large margin for four of five classes, and the same small one for the last, there is less often an answer."""
    some, few = ([d.index is None for d in compare(subject, f"{rule},margin={m}")] for m in ("0.02", "1/1/1/1/0.02"))
    assert sum(few) > sum(some)
    with pytest.raises(PlifError, match="margin= has 2 numbers; expected one, or one for each of 5 classes"):
        subject.decisions("duration:10ms", [scene(0)[:50]], f"{rule},margin=0.1/0.2", "never")


@pytest.mark.parametrize(
    "rule",
    [
        "sum,margin=0.2",
        "leak:100ms,margin=0.3",
        "own:200ms,margin=0.5",
        "kofn:3/5,margin=0.3",
        "cusum:200ms,margin=0.3",
    ],
)
def test_the_soft_answer_comes_before_the_firm_one(subject: Subject, rule: str) -> None:
    """Both are those of the specification; when an answer becomes another class, the soft one mostly was that class already."""
    said = compare(subject, rule)
    before = [one.soft == now.index for one, now in pairwise(said) if now.index not in (None, one.index)]
    assert len({d.soft for d in said}) > 2 and (sum(before) > len(before) / 2 or rule[0] in "sk")
    if rule[0] != "k":
        compare(subject, f"{rule},soft=0.05")


def test_own_where_many_steps_end_at_the_same_time(subject: Subject) -> None:
    compare(subject, "own:50ms,margin=0.01,release=0.3,other=1us", framing="count:T=900")


@pytest.mark.parametrize("rule", ["sum", "leak:100ms,margin=0.1", "kofn:2/5", "own:50ms", "cusum:50ms"])
@pytest.mark.parametrize("reset", ["never", "silence:30"])
def test_idle_below_a_rate_of_events(subject: Subject, rule: str, reset: str) -> None:
    said = labels(compare(subject, f"{rule},idle=0.7k", reset))
    assert "idle" in said and len(said) > 2


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "rule", ["leak:120ms,margin=0.2", "leak:50ms", "kofn:3/5", "kofn:3/5,margin=1", "own:50ms", "cusum:50ms"]
)
def test_idle_as_quiet_as_the_noise_that_is_learnt(subject: Subject, rule: str) -> None:
    later = "noise b noise on e d noise noise back noise noise pause noise"
    said = set[str]()
    for parts in (f"noise noise noise a {later}", f"a b a b {8 * 'rest '} b noise d pause e rest a"):
        said |= labels(compare(subject, f"{rule},idle=auto", framing="duration:20ms", seeds=1, parts=parts))
    assert "idle" in said and len(said) > (1 if "margin=1" in rule else 2)


def test_an_early_exit_is_final_until_the_next_reset(subject: Subject) -> None:
    for rule, reset in (
        ("sum,exit=0.3", "never"),
        ("sum,exit=1,margin=0.1", "every:40"),
        ("sum,exit=0.2,margin=0.3", "silence:50"),
    ):
        compare(subject, rule, reset)


@pytest.mark.parametrize("rule", ["sum", "leak:80ms,margin=0.1,idle=700", "kofn:2/4", "own:80ms", "cusum:80ms"])
@pytest.mark.parametrize(
    "reset",
    [
        "never",
        "recording",
        "every:1",
        "every:7",
        "every:20/3",
        "every:8/8",
        "silence:15",
        "silence:200",
        "decay:2s",
        "decay:20ms",
    ],
)
def test_each_rule_with_each_reset(subject: Subject, rule: str, reset: str) -> None:
    compare(subject, rule, reset, FRAMINGS[len(rule + reset) % 3], seeds=1)
