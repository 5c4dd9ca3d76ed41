"""A filter of one's own, in Python, comes before those of libplif."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import events_sha256, make_events, open_source
from runtime.core.parts import find_parts
from runtime.core.stream.source_framer import SourceFramer
from runtime.observers.event_filters import FILTERS
from tests.passing import Filters
from tests.runtime.observers.event_filters.test_filters import H, W, noise


class Every:
    """every:N, a filter of one's own: each Nth event passes, and x begins at 0 one pixel further to the right."""

    def __init__(self, argument: str | None, sensor: tuple[int, int]) -> None:
        self.n, self.seen, self.notes = int(argument or 2), 0, [f"every {argument}"]
        self.sensor = sensor[0] - 1, sensor[1]

    def __call__(self, events: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        assert len(events)
        kept = (np.arange(self.seen, self.seen + len(events)) % self.n == 0) & (events["x"] > 0)
        self.seen += len(events)
        moved = events[kept]
        moved["x"] -= 1
        return moved, kept


class All:
    """Lets all pass."""

    def __init__(self, _: str | None, sensor: tuple[int, int]) -> None:
        self.sensor, self.notes = sensor, list[str]()

    def __call__(self, events: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        return events, None


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILTERS, "every", Every)
    monkeypatch.setitem(FILTERS, "all", All)


@pytest.mark.usefixtures("own")
def test_a_filter_of_ones_own_comes_before_those_of_plif() -> None:
    events = noise()
    filters = Filters("every:3, every ,hot:20ms,roi:2:0:17:14", (W, H))
    passed, which = filters(events)
    left = np.flatnonzero((np.arange(len(events)) % 3 == 0) & (events["x"] > 0))
    left = left[(np.arange(len(left)) % 2 == 0) & (events["x"][left] > 1)]
    moved = make_events(events["t"][left], events["x"][left] - 2, events["y"][left], events["p"][left])
    alone = Filters("hot:20ms,roi:2:0:17:14", (W - 2, H))
    expected, kept = alone(moved)
    assert events_sha256(passed) == events_sha256(expected) and which is not None and kept is not None
    assert np.flatnonzero(which).tolist() == left[kept].tolist()
    assert filters.sensor == (15, 14) and filters.notes == ["every 3", "every None", *alone.notes] and alone.notes
    assert (filters.snapshot == alone.snapshot).all()


@pytest.mark.usefixtures("own")
def test_a_filter_of_ones_own_may_stand_alone_and_let_all_pass() -> None:
    events = noise(100)
    filters = Filters("every", (W, H))
    assert filters(events)[1] is not None and filters.sensor == (W - 1, H) and len(filters.snapshot) == 0
    passed, which = Filters("all,swap", (W, H))(events)
    assert which is None and (passed["p"] == ~events["p"]).all()
    assert Filters("every:1000000,all", (W, H))(events[:0])[1] is None


@pytest.mark.usefixtures("own")
def test_a_filter_of_ones_own_after_one_of_plif_is_refused() -> None:
    with pytest.raises(
        PlifError, match=r"^--filter swap, every:2: 'every' is a filter of your own; expected before those of plif$"
    ):
        Filters("swap, every:2", (W, H))


def test_without_the_part_a_filter_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(find_parts("observers"), "event_filters")
    with pytest.raises(PlifError, match=r"--filter flip:x: no part here filters events"):
        SourceFramer(open_source("sim:digits?seed=1&seconds=1"), "duration:20ms", (2, 34, 34), filters="flip:x")
