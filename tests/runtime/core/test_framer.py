"""The framer: every way to split a recording, edges of its rules, where events land. tests/specification has the rules."""

from __future__ import annotations

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import EVENT_DTYPE, make_events, make_frames
from runtime.core.events.account import Account
from runtime.core.events.frame import Frame
from runtime.core.events.framer import Extent, Framer
from tests.live import step

SHAPE = (2, 8, 8)
SENSOR = (16, 12)


Row = tuple[list[float], int, int, int, bool]


def rows(frames: list[Frame]) -> list[Row]:
    return [(f.x.ravel().tolist(), f.t_start_us, f.t_end_us, f.events, f.discontinuity) for f in frames]


def stream(seed: int, count: int = 400) -> np.ndarray:
    """Jitter, duplicates, backward steps, gaps in both directions, and some coordinates off the sensor."""
    random = np.random.default_rng(seed)
    steps = random.choice([0, 30, 500, 3000, -200, -2500, 60_000, 1_500_000, -1_300_000], count,
                          p=[0.2, 0.3, 0.2, 0.15, 0.06, 0.05, 0.03, 0.005, 0.005])  # fmt: skip
    t = 5_000_000 + np.cumsum(steps)
    x, y = random.integers(0, SENSOR[0] + 1, count), random.integers(0, SENSOR[1] + 1, count)
    return make_events(t, x, y, random.random(count) < 0.5)


TIMED = [
    "duration:1ms",
    "duration:10ms",
    "duration:10ms,value=binary,resize=crop",
    "duration:10ms,value=binary,resize=nearest,shape=square",
    "duration:50ms,T=7",
    "duration:50ms,T=7,pad=zero",
    "duration:2s,T=3",
    "duration:1ms,T=2000",
    "events:n=20,max=10ms",
    "events:n=1,max=10ms",
    "events:n=7,max=1s,resize=crop",
    "events:n=100000,max=2ms",
]


@pytest.mark.parametrize("text", [*TIMED, "count:T=7", "count:T=390", "count:T=1000"])
@pytest.mark.parametrize(
    "seed", (0, 1, pytest.param(2, marks=pytest.mark.large), pytest.param(3, marks=pytest.mark.large))
)
def test_how_a_recording_is_split_changes_no_frame(text: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    events = stream(seed)
    total = int(((events["x"] < SENSOR[0]) & (events["y"] < SENSOR[1])).sum())
    whole = Framer(text, SHAPE, SENSOR, Extent(total))
    whole_frames = whole.push(events) + whole.close()
    step(whole, whole_frames)
    expected = rows(whole_frames)
    splits = [np.arange(1, len(events))]  # event by event
    splits += [np.sort(random.integers(0, len(events), random.integers(0, 30))) for _ in range(8)]
    for split in splits:
        framer = Framer(text, SHAPE, SENSOR, Extent(total))
        frames: list[Frame] = []
        for piece in np.split(events, split):
            frames += framer.push(piece)
            assert framer.account.waiting == sum(frame.events for frame in frames) + framer.time_state.waiting
        frames += framer.close()
        assert rows(frames) == expected
        step(framer, frames)
        assert framer.account.waiting == 0
        assert framer.account == whole.account
        assert framer.account.events_in == len(events)


@pytest.mark.parametrize("text", TIMED)
def test_frames_of_is_the_framer(text: str) -> None:
    events = stream(3)
    framer = Framer(text, SHAPE, SENSOR)
    frames = framer.push(events) + framer.close()
    x = make_frames(events, text, SHAPE, SENSOR)
    assert x.dtype == np.float32
    assert np.array_equal(x, np.stack([frame.x for frame in frames]))


# --- count ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "T"), [(4681, 16), (100, 10), (7, 3), (1, 1), (16, 16), (17, 16)])
def test_count_slices_are_those_of_equation_s1(total: int, T: int) -> None:
    events = make_events(np.arange(total), np.zeros(total), np.zeros(total), np.ones(total))
    x = make_frames(events, f"count:T={T}", (2, 1, 1), (1, 1))
    quota = total // T
    assert x[:, 1, 0, 0].tolist() == [quota] * (T - 1) + [total - quota * (T - 1)]


def test_fewer_events_than_slices_all_stand_in_the_last_one() -> None:
    events = make_events([5, 6, 7], [0, 0, 0], [0, 0, 0], [1, 1, 0])
    x = make_frames(events, "count:T=5", (2, 1, 1), (1, 1))
    assert x[:, :, 0, 0].tolist() == [[0, 0]] * 4 + [[1, 2]]
    assert make_frames(events[:0], "count:T=5", (2, 1, 1), (1, 1)).shape == (5, 2, 1, 1)


def test_count_takes_file_order_and_no_event_is_late() -> None:
    events = make_events([100, 5, 90_000_000, 1], [0] * 4, [0] * 4, [1, 0, 1, 0])
    framer = Framer("count:T=2", (2, 1, 1), (1, 1), Extent(4))
    frames = framer.push(events) + framer.close()
    assert [(f.x.ravel().tolist(), f.events, f.discontinuity) for f in frames] == [([1, 1], 2, False)] * 2
    step(framer, frames)
    assert framer.account == Account(events_in=4, used=4)


def test_count_without_the_number_of_events_names_the_live_framings() -> None:
    with pytest.raises(PlifError, match=r"duration:10ms or events:n=5000,max=20ms"):
        Framer("count:T=5", SHAPE, SENSOR)


# --- duration and events ----------------------------------------------------------------------------------------------


def at(*times: int) -> np.ndarray:
    return make_events(times, [0] * len(times), [0] * len(times), [True] * len(times))


def spans(text: str, events: np.ndarray) -> list[tuple[int, int, int, bool]]:
    framer = Framer(text, (1, 1, 1), (1, 1))
    return [(f.t_start_us, f.t_end_us, f.events, f.discontinuity) for f in framer.push(events) + framer.close()]


def test_the_grid_starts_at_the_first_event_and_keeps_empty_frames() -> None:
    assert spans("duration:10us", at(103, 112, 113, 139)) == [
        (103, 113, 2, False), (113, 123, 1, False), (123, 133, 0, False), (133, 143, 1, False)]  # fmt: skip


def test_a_gap_of_exactly_a_second_is_still_time_and_one_more_is_a_discontinuity() -> None:
    assert len(spans("duration:100ms", at(0, 1_000_000))) == 11
    assert spans("duration:100ms", at(0, 1_000_001)) == [(0, 100_000, 1, False), (1_000_001, 1_100_001, 1, True)]
    assert spans("duration:100ms", at(2_000_000, 999_999)) == [
        (2_000_000, 2_100_000, 1, False), (999_999, 1_099_999, 1, True)]  # fmt: skip


def test_late_is_before_the_open_frame_and_backward_steps_inside_it_are_used() -> None:
    framer = Framer("duration:10us", (1, 1, 1), (1, 1))
    step(framer, framer.push(at(100, 115, 112, 109, 99)) + framer.close())
    assert framer.account == Account(events_in=5, used=3, late=2)


def test_a_frame_by_number_ends_at_its_last_event_or_at_the_time() -> None:
    assert spans("events:n=2,max=10us", at(0, 4, 5, 30, 31)) == [
        (0, 4, 2, False), (4, 14, 1, False), (14, 24, 0, False), (24, 31, 2, False)]  # fmt: skip


def test_a_short_recording_is_padded_to_exactly_t_frames() -> None:
    events = make_events([0, 1, 10, 20], [0, 1, 1, 0], [0] * 4, [True] * 4)
    repeat = make_frames(events, "duration:10us,T=5", (1, 1, 2), (2, 1))
    assert repeat[:, 0, 0].tolist() == [[1, 1], [0, 1], [0, 1], [0, 1], [0, 1]]
    zero = make_frames(events, "duration:10us,T=5,pad=zero", (1, 1, 2), (2, 1))
    assert zero[:, 0, 0].tolist() == [[1, 1], [0, 1], [1, 0], [0, 0], [0, 0]]
    framer = Framer("duration:10us,T=5", (1, 1, 2), (2, 1))
    step(framer, framer.push(events) + framer.close())
    assert framer.account == Account(events_in=4, used=3, filtered=1)


def test_a_recording_shorter_than_one_frame_repeats_what_there_is() -> None:
    assert make_frames(at(1, 2), "duration:1s,T=3", (1, 1, 1), (1, 1)).ravel().tolist() == [2, 2, 2]
    assert make_frames(at(), "duration:1s,T=3", (1, 1, 1), (1, 1)).ravel().tolist() == [0, 0, 0]


def test_events_beyond_t_frames_are_filtered() -> None:
    framer = Framer("duration:10us,T=2", (1, 1, 1), (1, 1))
    frames = framer.push(at(0, 10, 20, 5, 9_000_000)) + framer.close()
    assert [frame.events for frame in frames] == [1, 1]
    step(framer, frames)
    assert framer.account == Account(events_in=5, used=2, filtered=3)


def test_a_silent_second_in_microsecond_frames_needs_no_memory_for_each() -> None:
    framer = Framer("duration:10us", (2, 128, 128), (128, 128))
    frames = framer.push(at(0, 900_000))
    assert len(frames) == 90_000
    assert len({id(frame.x) for frame in frames}) == 2  # the full one, and one empty array for all others


def test_ten_thousand_discontinuities_stay_fast() -> None:
    t = np.arange(60_000) % 2 * 5_000_000
    framer = Framer("duration:10ms", (1, 1, 1), (1, 1))
    assert len(framer.push(at(*t.tolist())) + framer.close()) == 60_000
    assert framer.time_state.gaps == 59_999


def test_a_closed_framer_takes_no_more_events() -> None:
    framer = Framer("duration:10ms", (1, 1, 1), (1, 1))
    framer.close()
    with pytest.raises(PlifError, match="closed"):
        framer.push(at(1))
    assert framer.close() == []


# --- where an event lands ---------------------------------------------------------------------------------------------


def landing(
    options: str, x: int, y: int, shape: tuple[int, int, int], sensor: tuple[int, int], upright: str = "identity"
) -> list[int]:
    frame = make_frames(make_events([0], [x], [y], [True]), f"count:T=1{options}", shape, sensor, upright)[0]
    return np.argwhere(frame).ravel().tolist()


@pytest.mark.parametrize(
    ("options", "upright", "expected"),
    [
        ("", "rotate180", [1, 20, 10]),
        (",orientation=upright", "identity", [1, 20, 10]),
        (",orientation=upright", "rotate180", [1, 107, 117]),
        (",orientation=upright", "flip_y", [1, 107, 10]),
        (",orientation=sj", "rotate180", [1, 117, 107]),
        (",orientation=paper", "rotate180", [1, 20, 117]),
        (",polarity=swapped", "rotate180", [0, 20, 10]),
    ],
)
def test_orientation_and_polarity_put_the_event_where_they_say(options: str, upright: str, expected: list[int]) -> None:
    assert landing(options, 10, 20, (2, 128, 128), (128, 128), upright=upright) == expected


def test_resize_adds_up_or_takes_the_centre() -> None:
    assert landing("", 345, 259, (2, 128, 128), (346, 260)) == [1, 127, 127]
    assert landing("", 100, 100, (2, 128, 128), (346, 260)) == [1, 100 * 128 // 260, 100 * 128 // 346]
    assert landing("", 33, 0, (2, 68, 68), (34, 34)) == [1, 0, 66]
    assert landing(",resize=crop", 109, 66, (2, 128, 128), (346, 260)) == [1, 0, 0]
    assert landing(",resize=crop", 108, 66, (2, 128, 128), (346, 260)) == []
    assert landing(",resize=crop", 0, 33, (2, 36, 36), (34, 34)) == [1, 34, 1]


def test_exchanged_axes_also_exchange_the_sides_of_a_sensor_that_is_not_square() -> None:
    assert landing(",orientation=sj", 0, 0, (2, 346, 260), (346, 260)) == [1, 345, 259]


def test_one_channel_adds_both_polarities_and_three_are_refused() -> None:
    events = make_events([0, 1], [0, 0], [0, 0], [True, False])
    assert make_frames(events, "count:T=1", (1, 1, 1), (1, 1)).ravel().tolist() == [2]
    with pytest.raises(PlifError, match="3 channels"):
        make_frames(events, "count:T=1", (3, 1, 1), (1, 1))


def test_binary_frames_say_whether_there_was_an_event() -> None:
    events = make_events([0, 1, 2], [0, 0, 1], [0, 0, 0], [True, True, False])
    assert make_frames(events, "count:T=1,value=binary", (2, 1, 2), (2, 1))[0].ravel().tolist() == [0, 1, 1, 0]


def test_the_account_balances_only_when_every_event_stands_somewhere() -> None:
    account = Account()
    account.add(6, filtered=2, dropped=1)
    assert account.waiting == 3
    account.add(used=3)
    assert account.waiting == 0 and account.events_in == 6
    assert Account(events_in=6, used=2, filtered=2, dropped=1).waiting == 1


def test_at_the_end_what_waits_is_dropped_and_nothing_is_entered_any_more() -> None:
    account = Account()
    account.add(6, filtered=2)
    account.close()
    account.close()
    account.add(5, used=3)
    assert account == Account(events_in=6, filtered=2, dropped=4)


def test_events_have_the_documented_fields() -> None:
    assert EVENT_DTYPE.itemsize == 13
    assert EVENT_DTYPE.names == ("t", "x", "y", "p")
