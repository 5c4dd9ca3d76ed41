"""With follow=on, frames, account and decisions are those of the specification, and a snapshot goes on as if nothing was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.libplif import CSession
from tests.specification import framing
from tests.specification.follow import View
from tests.specification.stream import decisions_of, frames_of
from tests.specification.subject import (
    CLASSES,
    UPRIGHT,
    VOTERS,
    VOTING,
    Subject,
    T,
    artifact,
    events_in,
    network,
    opened,
    packed,
)
from tests.specification.test_frames import compare, cut
from tests.specification.view import Event

SHAPE = (2, 12, 16)


def a_figure(
    seed: int, sensor: tuple[int, int], at: tuple[float, float], gap: bool = False, steps: int = 40, noisy: int = 6
) -> list[Event]:
    """A small figure that trembles about a place of the sensor and later about another, and noise."""
    rng = np.random.default_rng(seed)
    found: list[Event] = []
    for step in range(steps):
        place = np.multiply(at if step < steps // 2 else (1 - at[0], at[1]), sensor)
        of_figure = rng.normal(place, np.multiply(0.05, sensor), (60, 2)).astype(int)
        noise = (rng.random((noisy, 2)) * sensor).astype(int)
        x, y = np.clip(np.concatenate((of_figure, noise)), 0, np.subtract(sensor, 1)).T
        t = 20_000 * step + 3_000_000 * (gap and step > steps * 2 // 3) + np.sort(rng.integers(0, 20_000, len(x)))
        found += [
            Event(*one)
            for one in zip(t.tolist(), x.tolist(), y.tolist(), (rng.random(len(x)) < 0.5).tolist(), strict=True)
        ]
    return found


@pytest.mark.parametrize(("sensor", "line"), [
    ((16, 12), "duration:20ms,follow=on"),
    ((34, 24), "duration:40ms,every=20ms,value=binary,resize=nearest,follow=on"),
    ((61, 40), "duration:60ms,every=20ms,value=binary,resize=nearest,shape=square,follow=on,polarity=swapped"),
    ((24, 61), "duration:20ms,resize=sum,orientation=upright,shape=square,follow=on"),
    ((50, 30), "duration:20ms,value=binary,resize=nearest,orientation=sj,follow=on"),
])  # fmt: skip
def test_frames_and_account(subject: Subject, sensor: tuple[int, int], line: str) -> None:
    upright = UPRIGHT if "upright" in line else UPRIGHT[:1]
    for seed, how in enumerate(upright):
        events = a_figure(seed, sensor, (0.3, 0.45), gap=True)
        account = compare(subject, line, cut(events, seed), SHAPE, sensor, how)
        assert account["used"] > 0
    frames, _ = frames_of(line, events, SHAPE, sensor, how)
    assert {frame.followed for frame in frames} == {False, True}  # the figure was found, and lost with the gap


def test_the_view_finds_the_body_and_stands_still_for_a_hand() -> None:
    """A standing outline and a hand that waves beside it, in a picture of 128 x 128."""
    rng, view = np.random.default_rng(1), View((2, 128, 128))
    for _ in range(60):
        outline = [(0, row, column) for row in range(30, 100) for column in (85, 95) if rng.random() < 0.25]
        hand = [(0, 35 + rng.integers(-4, 5), 108 + rng.integers(-3, 4)) for _ in range(60)]
        view.see(dict.fromkeys([*outline, *hand], 1))  # type: ignore[arg-type]
    assert view.known and abs(view.c[0] - 90) < 6 and abs(view.c[1] - 55) < 15 and view.counts


@pytest.mark.parametrize("decide", ["sum", "leak:60ms,margin=0.1", "cusum:100ms,drift=0.02,margin=0.01"])
@pytest.mark.parametrize("reset", ["never", "silence:100", "every:7"])
def test_decisions_on_the_greater_of_both_rows(subject: Subject, decide: str, reset: str) -> None:
    sensor, line = VOTING[:0:-1], "duration:20ms,follow=on"
    feed = cut(a_figure(5, sensor, (0.1, 0.1), gap=True, noisy=0), 5)
    frames, _ = frames_of(line, events_in(feed), VOTING, sensor)
    expected = decisions_of(frames, decide, reset, network, CLASSES, VOTERS, T, channels=1)
    said = subject.decisions(line, feed, decide, reset)
    assert [d[:7] for d in said] == [d[:7] for d in expected] and any(frame.followed for frame in frames)
    alone = decisions_of(
        [replace(frame, followed=False) for frame in frames], decide, reset, network, CLASSES, VOTERS, T, 1
    )
    assert [d.votes for d in alone] != [d.votes for d in expected]


def test_a_snapshot_has_the_view() -> None:
    sensor, line = (34, 24), "duration:40ms,every=20ms,value=binary,resize=nearest,follow=on"
    events = a_figure(3, sensor, (0.3, 0.4))
    options = {"sensor_width": 34, "sensor_height": 24, "framing": line}
    whole, part, rest = (CSession(opened(artifact(SHAPE, False)), **options) for _ in range(3))
    half = len(events) * 3 // 5
    list(part.feed(packed(events[:half])))
    rest.restore(part.snapshot())
    for session in (whole, rest):
        list(session.feed(packed(events if session is whole else events[half:])))
        list(session.finish())
    assert np.array_equal(whole.seen((4, 12, 16)), rest.seen((4, 12, 16))) and whole.said() == rest.said()
    without = CSession(opened(artifact(SHAPE, False)), **{**options, "framing": line.removesuffix(",follow=on")})
    with pytest.raises(Exception, match="expected"):
        without.restore(part.snapshot())
    for session in (whole, part, rest, without):
        session.free()


def test_what_cannot_follow_is_refused() -> None:
    for line in ("duration:20ms,follow=on,T=8", "duration:10ms,follow=on", "duration:20ms,resize=crop,follow=on"):
        with pytest.raises(Exception, match="follow=on takes"):
            framing.parse(line)
    with pytest.raises(Exception, match="does not go with follow=on"):
        CSession(opened(artifact(SHAPE, False)), framing="duration:20ms,follow=on", reset="every:8/2")
