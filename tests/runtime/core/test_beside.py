"""Work beside other work: both are done, and what either raises is raised."""

from __future__ import annotations

import threading

import pytest

from runtime.core.model.digest import run_in_parallel


def test_both_are_done_at_once() -> None:
    """Each waits for the other, so one after the other they would wait for ever."""
    here, there = threading.Event(), threading.Event()

    def work() -> int:
        here.set()
        assert there.wait(30)
        return 3

    def meanwhile() -> None:
        assert here.wait(30)
        there.set()

    assert run_in_parallel(work, meanwhile) == 3


def test_what_either_raises_is_raised_and_that_of_the_work_comes_first() -> None:
    def wrong() -> None:
        raise ValueError("the work")

    def worse() -> None:
        raise KeyError("meanwhile")

    with pytest.raises(ValueError, match="the work"):
        run_in_parallel(wrong, lambda: None)
    with pytest.raises(KeyError, match="meanwhile"):
        run_in_parallel(lambda: None, worse)
    with pytest.raises(ValueError, match="the work"):
        run_in_parallel(wrong, worse)
