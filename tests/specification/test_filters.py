"""What passes a filter, and where it goes, is what the specification says, for random events and lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.specification.filters import apply
from tests.specification.lines import Words
from tests.specification.stream import frames_of
from tests.specification.subject import Filtering
from tests.specification.text import Refused
from tests.specification.view import Event

SENSOR = (9, 7)
LINES = (
    *(
        "hot:40ms",
        "hot:20ms",
        "refractory:3ms",
        "background:2ms",
        "background:0.3ms",
        "roi:3:2:8:6",
        "roi:square",
        "down:2",
        "down:4",
    ),
    *("flip:x", "flip:y", "rotate:90", "rotate:180", "rotate:270", "swap"),
    *(
        "hot:40ms,refractory:1ms,background:5ms,roi:square,down:2,flip:y,rotate:270",
        "down:3,hot:20ms,swap,refractory:900us",
    ),
)


def some_events(seed: int, count: int = 1500) -> list[Event]:
    """Pixels that meet often, two hot ones in the corner, times that step back a little."""
    rng = np.random.default_rng(seed)
    t = 1_000_000 + np.cumsum(rng.integers(0, 60, count)) - rng.integers(0, 300, count) * (rng.random(count) < 0.1)
    t -= t % (100 if seed % 2 else 1)  # in hundreds, times are often exactly as far apart as a filter says
    x, y, hot = rng.integers(0, SENSOR[0], count), rng.integers(0, SENSOR[1], count), rng.random(count)
    x[hot < 0.3], y[hot < 0.3] = 0, 0
    x[hot < 0.15] = 1
    return [
        Event(*one) for one in zip(t.tolist(), x.tolist(), y.tolist(), (rng.random(count) < 0.5).tolist(), strict=True)
    ]


def specified(line: str, events: list[Event]) -> Any:
    try:
        return apply(line, SENSOR, events)
    except Refused:
        return None


@pytest.mark.parametrize("line", LINES)
def test_events_pass_and_move_as_specified(filtering: Filtering, line: str) -> None:
    for seed in range(2):
        events = some_events(seed)
        passed, size = specified(line, events)
        assert filtering.filtered(line, SENSOR, events) == (passed, size)
        assert any(passed) and ("," in line or passed != events)


def test_a_pixel_is_hot_from_20_events_a_second_on(filtering: Filtering) -> None:
    for ms, many in ((1000, (10, 11, 19, 20, 21)), (2600, (51, 52)), (2610, (52, 53))):
        for often in many:
            times = [*range(0, 900 * ms, -(-900 * ms // often)), 1000 * ms]
            passed, size = specified(f"hot:{ms}ms", events := [Event(t, 4, 4, True) for t in times])
            assert len(times) == often + 1 and (passed[-1] is None) == (often > 10 and often >= 20 * ms / 1000)
            assert filtering.filtered(f"hot:{ms}ms", SENSOR, events) == (passed, size)


def test_hot_pixels_at_the_borders_of_the_smallest_sensors(filtering: Filtering) -> None:
    rng, masked = np.random.default_rng(8), 0
    for width, height in ((3, 3), (2, 4), (4, 2), (1, 6), (6, 1), (1, 1)) * 12:
        often = rng.choice([0, 1, 2, 10, 11, 12, 22, 40], (width, height))
        pixels = [(x, y) for x, y in np.ndindex(width, height) for _ in range(often[x, y])]
        events = [Event(t, *at, True) for t, at in enumerate([(0, 0), *pixels])]
        events += [Event(1000, x, y, True) for x, y in np.ndindex(width, height)]
        passed, size = apply("hot:1ms", (width, height), events)
        assert filtering.filtered("hot:1ms", (width, height), events) == (passed, size)
        masked += passed.count(None)
    assert masked > 50


@pytest.mark.parametrize("line", ["hot:20ms", "refractory:3ms", "background:2ms"])
def test_times_at_the_ends_of_int64_are_as_far_apart_as_they_are(filtering: Filtering, line: str) -> None:
    rng, end = np.random.default_rng(6), 2**63 - 1
    for begin in (-end, end - 40_000):
        steps = rng.choice([0, 1, 1999, 2000, 2001, 2999, 3000, 3001, 20_000], 60).tolist()
        times = [max(-end, min(end, t)) for step in steps for t in (begin + step, -begin - step)]
        events = [Event(t, int(rng.integers(4, 6)), 3, True) for t in times]
        assert filtering.filtered(line, SENSOR, events) == specified(line, events)


def test_a_list_of_hot_pixels(filtering: Filtering, tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text("# of this camera\n5, 6\n\n0,0  # corner\n")
    line, events = f"hot:{tmp_path / 'hot.txt'}", some_events(0)
    assert filtering.filtered(line, SENSOR, events) == specified(line, events)
    for wrong in ("9,1", "1,7", "1", "1,2,3", "x,1"):
        (tmp_path / "hot.txt").write_text(f"1,1\n{wrong}\n")
        assert filtering.filtered(line, SENSOR, events) is specified(line, events) is None


def test_a_line_of_filters_says_what_the_specification_reads_in_it(filtering: Filtering) -> None:
    words, events, right = Words(np.random.default_rng(5)), some_events(1, 40), 0
    for line in (words.filter() for _ in range(2000)):
        expected = specified(line, events)
        assert filtering.filtered(line, SENSOR, events) == expected, line
        right += expected is not None
    assert right > 500


@pytest.mark.parametrize(
    "framing", ["duration:1ms", "events:n=30,max=5ms", "count:T=7", "time:T=7", "duration:3ms,T=6"]
)
def test_time_goes_on_with_what_a_filter_removes(filtering: Filtering, framing: str) -> None:
    for filters in ("background:0.3ms,roi:2:0:8:7", "refractory:3ms,down:2,rotate:90"):
        events = [event._replace(x=event.x + event.t % 2) for event in some_events(2, 600)]
        frames, account = frames_of(framing, events, (2, 6, 8), SENSOR, filtered_by=filters)
        seen, told = filtering.frames(framing, [events], (2, 6, 8), SENSOR, filters=filters)
        assert [(end, used, x) for end, used, _, x in seen] == [
            (frame.end_us, frame.events, frame.x) for frame in frames
        ]
        assert told == {name: len(events) if name == "in" else account[name] for name in told}
