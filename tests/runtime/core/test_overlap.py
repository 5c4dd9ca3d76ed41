"""Frames that overlap: `duration:40ms,every=10ms`."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.events import make_events, make_frames
from runtime.core.events.framer import Framer

SHAPE, SENSOR = (2, 6, 6), (6, 6)


def recording(seed: int, n: int = 600, length_us: int = 300_000) -> np.ndarray:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, length_us, n))
    t[: n // 3] //= 2  # some stretches are empty
    return make_events(np.sort(t), rng.integers(0, 6, n), rng.integers(0, 6, n), rng.random(n) < 0.5)


@pytest.mark.parametrize("value", ["count", "binary"])
@pytest.mark.parametrize("seed", range(3))
def test_a_frame_is_the_sum_of_the_last_pieces(seed: int, value: str) -> None:
    events = recording(seed)
    pieces = make_frames(events, "duration:10ms", SHAPE, SENSOR)
    x = make_frames(events, f"duration:40ms,every=10ms,value={value}", SHAPE, SENSOR)
    assert len(x) == len(pieces)
    for n in range(len(x)):
        expected = pieces[max(0, n - 3) : n + 1].sum(0)
        assert np.array_equal(x[n], np.minimum(expected, 1) if value == "binary" else expected)


def test_every_event_counts_once_and_spans_are_those_of_the_pieces() -> None:
    events = recording(7)
    framer = Framer("duration:40ms,every=10ms", SHAPE, SENSOR)
    frames = framer.push(events) + framer.close()
    assert sum(frame.events for frame in frames) == len(events)
    assert {frame.t_end_us - frame.t_start_us for frame in frames} == {10_000}
    assert [a.t_end_us for a in frames[:-1]] == [b.t_start_us for b in frames[1:]]


def test_after_a_gap_the_older_pieces_are_forgotten() -> None:
    events = make_events([0, 12_000, 5_000_000, 5_011_000], [1, 2, 3, 4], [0] * 4, [1] * 4)
    x = make_frames(events, "duration:30ms,every=10ms", SHAPE, SENSOR)
    seen = [np.flatnonzero(frame[1, 0]).tolist() for frame in x]
    assert seen == [[1], [1, 2], [3], [3, 4]]


@pytest.mark.parametrize(("pad", "expected"), [("repeat", [[1], [1], [1], [1]]), ("zero", [[1], [1, 2], [2], []])])
def test_padding(pad: str, expected: list[list[int]]) -> None:
    events = make_events([0, 12_000], [1, 2], [0] * 2, [1] * 2)
    x = make_frames(events, f"duration:20ms,every=10ms,T=4,pad={pad}", SHAPE, SENSOR)
    assert [np.flatnonzero(frame[1, 0]).tolist() for frame in x] == expected


@pytest.mark.parametrize("value", ["count", "binary"])
def test_merged_frames_show_each_event_once(value: str) -> None:
    events = recording(3)
    framing = f"duration:30ms,every=10ms,value={value}"
    framer = Framer(framing, SHAPE, SENSOR)
    frames = framer.push(events) + framer.close()
    pieces = make_frames(events, "duration:10ms", SHAPE, SENSOR)
    last = frames[7]
    framer.join(last, frames[6])
    framer.join(last, frames[5])
    expected = pieces[3:8].sum(0)  # three frames of three pieces, one piece after the other
    assert np.array_equal(last.x, np.minimum(expected, 1) if value == "binary" else expected)
    assert last.events == sum(len(frame_events) for frame_events in _by_piece(events)[5:8])


def _by_piece(events: np.ndarray) -> list[np.ndarray]:
    number = (events["t"] - events["t"][0]) // 10_000
    return [events[number == n] for n in range(int(number.max()) + 1)]
