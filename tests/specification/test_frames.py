"""Frames, and the account of every event, are those of the specification, for random events and every kind of framing."""

from __future__ import annotations

from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest

from runtime.core.events import read_events
from tests.specification import framer, framing
from tests.specification.stream import frames_of, since_last
from tests.specification.subject import UPRIGHT, Feed, SeenFrame, Subject, events_in
from tests.specification.view import Event, cell_of

SHAPE, SENSOR = (2, 6, 8), (15, 11)
STEPS_US = [0, 30, 500, 3000, -200, -2500, 60_000]
CALM = [0.2, 0.3, 0.2, 0.15, 0.06, 0.06, 0.03]
NO_TIMES_US = (2**61, -(2**61), 2**63 - 1)


def some_events(seed: int, count: int = 300, jumps: bool = True) -> list[Event]:
    """Jitter, duplicates, steps back, pauses; with jumps also gaps both ways, and events off the sensor or at no time."""
    rng = np.random.default_rng(seed)
    t = 5_000_000 + np.cumsum(rng.choice(STEPS_US, count, p=CALM))
    if jumps:
        t += np.cumsum(rng.choice([0, 1_500_000, -1_300_000], count, p=[0.99, 0.005, 0.005]))
        t[rng.integers(1, count, 3)] = NO_TIMES_US
    x, y = rng.integers(0, SENSOR[0] + jumps, count), rng.integers(0, SENSOR[1] + jumps, count)
    columns = (t.tolist(), x.tolist(), y.tolist(), (rng.random(count) < 0.5).tolist())
    return [Event(*one) for one in zip(*columns, strict=True)]


def cut(events: list[Event], seed: int) -> Feed:
    """In packets."""
    rng = np.random.default_rng(seed)
    places = [0, *sorted(rng.integers(1, len(events), 6).tolist()), len(events)]
    return [events[a:b] for a, b in pairwise(places) if a < b]


def told(frames: list[framer.Frame]) -> list[SeenFrame]:
    return [(frame.end_us, frame.events, since_last(frames, n)[2], frame.x) for n, frame in enumerate(frames)]


def compare(
    subject: Subject,
    line: str,
    feed: Feed,
    shape: tuple[int, int, int] = SHAPE,
    sensor: tuple[int, int] = SENSOR,
    upright: str = "identity",
) -> dict[str, int]:
    """Compares frames and account; gives the account."""
    events = events_in(feed)
    frames, fates = frames_of(line, events, shape, sensor, upright)
    seen, account = subject.frames(line, feed, shape, sensor, upright)
    assert seen == told(frames), line
    fates = {name: fates[name] for name in ("used", "filtered", "late", "invalid", "dropped", "not_shown")}
    assert account == {"in": len(events), **fates}, line
    assert len(events) == sum(fates.values()) - fates["not_shown"] and fates["not_shown"] <= fates["filtered"]
    return account


@pytest.mark.parametrize("kind", ["count", "time"])
@pytest.mark.parametrize("T", [1, 7, 299, 1000])
def test_slices_of_a_whole_recording(subject: Subject, kind: str, T: int) -> None:
    for seed, view in enumerate(("", ",resize=crop", ",value=binary,polarity=swapped", ",resize=nearest,shape=square")):
        account = compare(subject, f"{kind}:T={T}{view}", cut(some_events(seed), seed))
        assert account["late"] == 0
    compare(subject, f"{kind}:T={T}", cut([Event(7, 1, 1, True)] * 5, 0))
    compare(subject, f"{kind}:T={T}", [])


@pytest.mark.parametrize(
    "line",
    [
        *("duration:1ms", "duration:10ms,value=binary", "duration:50ms,resize=crop", "duration:400ms"),
        *("duration:10ms,resize=nearest", "duration:400ms,resize=nearest,shape=square"),
    ],
)
def test_a_grid_its_late_events_and_its_gaps(subject: Subject, line: str) -> None:
    accounts = [compare(subject, line, cut(some_events(seed), seed)) for seed in range(4)]
    assert all(account["invalid"] > 10 for account in accounts)
    assert sum(account["late"] for account in accounts) > 3
    compare(subject, line, [])


@pytest.mark.parametrize("pad", ["", ",pad=zero"])
def test_exactly_T_frames_of_a_grid(subject: Subject, pad: str) -> None:
    for seed, length in product(
        range(4), ("1ms,T=20", "50ms,T=7,resize=nearest", "50ms,T=20", "60ms,T=30", "2s,T=3", "40ms,every=10ms,T=60")
    ):
        compare(subject, f"duration:{length}{pad}", cut(some_events(seed), seed))
        compare(
            subject, f"duration:{length}{pad}", [some_events(seed, 1 + 2 * seed, jumps=False)]
        )  # shorter than a frame, perhaps
    for last in (29_999, 30_000, 39_999, 40_000):
        compare(subject, f"duration:10ms,T=4{pad}", [[Event(t, 1, 1, True) for t in (0, 15_000, last)]])
    compare(subject, f"duration:10ms,T=4{pad}", [])


@pytest.mark.parametrize(
    "line", ["duration:40ms,every=10ms", "duration:9ms,every=3ms,value=binary,resize=nearest", "duration:2ms,every=1ms"]
)
def test_frames_that_overlap(subject: Subject, line: str) -> None:
    for seed in range(4):
        compare(subject, line, cut(some_events(seed), seed))


@pytest.mark.parametrize(
    "line",
    ["n=20,max=10ms", "n=1,max=10ms", "n=7,max=1s,resize=nearest", "n=9999,max=2ms,resize=crop", "n=15,max=70ms"],
)
def test_frames_of_so_many_shown_events(subject: Subject, line: str) -> None:
    for seed in range(4):
        compare(subject, f"events:{line}", cut(some_events(seed), seed))


@pytest.mark.parametrize("orientation", ["stored", "upright", "sj", "paper"])
def test_where_an_event_lands(subject: Subject, orientation: str) -> None:
    sizes = [(SHAPE, SENSOR), ((2, 6, 8), (8, 6)), ((1, 7, 5), (4, 9)), ((2, 5, 5), (4, 3))]
    views = [*product(("auto", "sum", "nearest", "crop"), ("stretch", "square"))]
    for (shape, sensor), (resize, form), upright in product(sizes, views, UPRIGHT):
        events = [Event(x + y, x, y, bool((x + y) % 3)) for x, y in product(range(sensor[0] + 1), range(sensor[1] + 1))]
        for polarity in ("stored", "swapped"):
            line = f"count:T=1,orientation={orientation},resize={resize},shape={form},polarity={polarity}"
            account = compare(
                subject, line, [[e for e in events if e.x < sensor[0] and e.y < sensor[1]]], shape, sensor, upright
            )
            assert account["used"] and account["filtered"] == account["not_shown"]
            assert resize in ("nearest", "crop") or form == "square" or not account["filtered"]
        assert compare(subject, f"duration:1s,orientation={orientation}", [events], shape, sensor, upright)["invalid"]


@pytest.mark.parametrize(
    "line", ["duration:10ms", "duration:40ms,every=10ms", "duration:10ms,T=30,pad=zero", "events:n=9,max=10ms"]
)
def test_a_silence_is_as_an_event_that_lands_nowhere(subject: Subject, line: str) -> None:
    """Frames that have ended are given. Where events come in the open frame or later, it is as if one had come at that time."""
    for seed in range(4):
        before, after = some_events(seed, 40, jumps=False), some_events(seed + 9, 40, jumps=False)
        silence = [max(event.t for event in before) + us for us in ((90_000,), (700_000, 1_400_000))[seed % 2]]
        shift_us = silence[-1] + 12_345 - after[0].t
        after = [event._replace(t=event.t + shift_us) for event in after]
        parsed = framing.parse(line)
        landed = [[(e.t, cell_of(e, parsed, SHAPE, SENSOR)) for e in part] for part in (before, after)]
        frames, fates = framer.frames_of(parsed, [*landed[0], *((t, None) for t in silence), *landed[1]])
        seen, account = subject.frames(line, [before, *silence, after], SHAPE, SENSOR)
        assert seen == told(frames), line
        assert account["filtered"] == fates.count("filtered") - len(silence) and account["late"] == fates.count("late")


def test_events_that_came_too_late_for_their_frame_take_the_grid_back(subject: Subject) -> None:
    """A silence closed [0, 10) and four empty frames; then comes an event of [30, 40), later than its frame."""
    feed = [[Event(0, 0, 0, True)], 52_000, [Event(t, 0, 0, True) for t in (31_000, 29_000, 45_000)], 46_000]
    seen, account = subject.frames("duration:10ms", feed, SHAPE, SENSOR)
    assert [(end, events) for end, events, *_ in seen] == [
        *((10_000, 1), (20_000, 0), (30_000, 0), (40_000, 0), (50_000, 0)),
        *((40_000, 1), (50_000, 1)),
    ]
    assert account["late"] == 1


def test_a_silence_within_the_open_frame_changes_nothing(subject: Subject) -> None:
    feed = [[Event(0, 0, 0, True)], 9_999, [Event(1_000_000, 0, 0, True)]]
    assert subject.frames("duration:10ms", feed, SHAPE, SENSOR) == subject.frames(
        "duration:10ms", [feed[0], feed[2]], SHAPE, SENSOR
    )


def test_frames_of_real_recordings(subject: Subject, nmnist: Path) -> None:
    path = next(iter(sorted((nmnist / "Test/7").glob("*.bin"))))
    events = [Event(*event) for event in read_events(path).tolist()]
    for line in (
        "time:T=16",
        "count:T=10,resize=crop",
        "duration:40ms,every=10ms,value=binary",
        "events:n=200,max=5ms",
    ):
        compare(subject, line, cut(events, 0), (2, 20, 20), (34, 34))
