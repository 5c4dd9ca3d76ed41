"""What is the fastest here: candidates take turns, noise does not choose, and what was found is kept for as long as it holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from runtime.core.base.errors import PlifError
from runtime.core.base.files import find_cache_folder
from runtime.engines import tuner
from runtime.engines.tuner import Measurement, fastest, in_turns, tune


@pytest.fixture(autouse=True)
def may_measure(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As users have it, and nothing is known."""
    monkeypatch.delenv(tuner.NO_CALIBRATION, raising=False)
    tuner.choices.clear()
    yield
    tuner.choices.clear()


def test_the_first_wins_unless_a_later_one_is_clearly_faster() -> None:
    assert fastest({"a": 1, "b": 3}) == "a" and fastest({"a": 3, "b": 1}) == "b"
    for noise in (0.92, 0.97, 1.03, 1.08):  # two that are as fast as each other: noise does not choose
        assert fastest({"a": 1, "b": noise}) == "a"
    assert fastest({"a": 1, "b": 0.89}) == "b"
    assert fastest({"a": 1, "b": 0.92, "c": 0.89}) == "c", "each is compared with the best before it"
    assert fastest({"a": 1, "b": 0.8, "c": 0.75}) == "b" and fastest({"a": 1, "b": 0.8, "c": 0.7}) == "c"
    assert fastest({"a": 1, "b": 0.85}, margin=0.2) == "a"


class Clock:
    """Candidates that say how long they took; which ran is written down."""

    def __init__(self, **times: Sequence[tuple[float, ...]]) -> None:
        self.ran: list[str] = []
        self._times = {name: iter(times) for name, times in times.items()}

    def run(self, name: str) -> tuple[float, ...] | None:
        self.ran.append(name)
        return next(self._times[name], None)


def test_candidates_take_turns_and_the_best_of_each_part_counts() -> None:
    clock = Clock(a=[(9, 1), (3, 9), (9, 9)], b=[(5, 5), (6, 4), (7, 7)])
    times, waited = in_turns(clock.run, ("a", "b"), rounds=3)
    assert times == {"a": (3, 1), "b": (5, 4)} and waited >= 0
    assert clock.ran == ["a", "b"] * 3


def test_no_round_begins_when_the_time_is_over_or_one_is_clearly_the_fastest() -> None:
    for options in ({"budget_s": 0.0}, {"clear": 2.0}):
        clock = Clock(a=[(1.0,)] * 9, b=[(2.1,)] * 9, c=[(5.0,)] * 9)
        in_turns(clock.run, ("a", "b", "c"), **options)
        assert clock.ran == ["a", "b", "c"]
    clock = Clock(a=[(1.0,)] * 9, b=[(1.9,)] * 9)
    in_turns(clock.run, ("a", "b"), clear=2.0)
    assert clock.ran == ["a", "b"] * tuner.ROUNDS


def test_what_has_no_time_left_is_left_out_with_all_behind_it() -> None:
    clock = Clock(a=[(3.0,), (2.0,)], b=[(1.0,)], c=[], d=[(0.1,)])
    found = tune("abcd", partial(in_turns, clock.run, rounds=2))
    assert found.best == "b" and found.times == {"a": {"time": 2.0}, "b": {"time": 1.0}}
    assert clock.ran == ["a", "b", "c", "a", "b"]
    assert tune("ab", partial(in_turns, Clock(a=[]).run)).best == "a"


def counted(*times: float) -> Iterator[Measurement[str]]:
    return (({"a": (1.0,), "b": (took,)}, 0.0) for took in times)


def test_what_was_found_is_kept_for_the_process_under_all_that_it_depends_on() -> None:
    measured = counted(0.5, 2.0, 3.0)
    ask = partial(tune, "ab", lambda _: next(measured))
    first = ask(depends_on=lambda: ["one"])
    assert first.best == "b" and ask(depends_on=lambda: ["one"]) is first
    assert ask(depends_on=lambda: ["other"]).best == "a"
    tuner.forget(first.key)
    assert ask(depends_on=lambda: ["one"]).times["b"] == {"time": 3.0}


def test_what_depends_on_nothing_that_can_be_said_is_kept_nowhere() -> None:
    measured = counted(0.5, 2.0)
    assert [tune("ab", lambda _: next(measured)).best for _ in range(2)] == ["b", "a"] and not tuner.choices


def test_where_nothing_can_be_measured_the_first_is_taken_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(candidates: Sequence[str]) -> Measurement[str]:
        raise PlifError("there is no memory")

    found = tune("ab", fails, depends_on=lambda: ["one"])
    assert (found.best, found.times, found.note) == ("a", {}, "not measured (there is no memory)") and not tuner.choices
    monkeypatch.setenv(tuner.NO_CALIBRATION, "1")
    found = tune("ab", lambda _: next(counted(0.5)), depends_on=lambda: ["one"])
    assert (found.best, found.times) == ("a", {}) and "PLIF_NO_CALIBRATION is set" in found.note and not tuner.choices


def test_the_cache_folder_is_the_users_and_no_relative_path_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert find_cache_folder() == Path("/somewhere/plif")
    for system, name in (("linux", ".cache"), ("darwin", "Library/Caches")):
        monkeypatch.setattr(sys, "platform", system)
        for ignored in ("", "relative"):
            monkeypatch.setenv("XDG_CACHE_HOME", ignored)
            assert find_cache_folder() == tmp_path / name / "plif"
