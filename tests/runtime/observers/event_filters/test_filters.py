"""Filters: the same however packets are cut; every event counted; refusals. tests/specification says what passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import EVENT_DTYPE, events_sha256, make_events, open_source
from runtime.core.stream.source_framer import SourceFramer
from runtime.native.interface import library
from runtime.observers import event_filters as of_events
from runtime.sources.sim.source import DigitSource
from tests.live import step
from tests.passing import Filters
from tests.specification.filters import FILTERS as SPECIFIED

W, H = 20, 14
EVERY = ("hot:40ms", "refractory:3ms", "background:2ms", "roi:3:2:17:12", "down:2", "flip:x", "rotate:90", "swap")


def noise(n: int = 4000, seed: int = 0, backwards: bool = True) -> np.ndarray:
    """Random events on a small sensor, so that pixels meet often; a hot pixel; times that step back a little."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.integers(0, 60, n)) + 1_000_000
    if backwards:
        t -= rng.integers(0, 300, n) * (rng.random(n) < 0.1)
    x, y = rng.integers(0, W, n), rng.integers(0, H, n)
    hot = rng.random(n) < 0.2
    x[hot], y[hot] = 5, 6
    return make_events(t, x, y, rng.random(n) < 0.5)


def passing(text: str, events: np.ndarray, cuts: list[int] | None = None) -> np.ndarray:
    filters = Filters(text, (W, H))
    parts = [filters(part)[0] for part in np.split(events, cuts or [])]
    return np.concatenate(parts)


@pytest.mark.parametrize("text", [*EVERY, "hot:40ms,refractory:1ms,background:5ms,roi:square,down:2,flip:y,rotate:270"])
def test_how_packets_are_cut_never_changes_what_passes(text: str) -> None:
    events = noise()
    whole = passing(text, events)
    rng = np.random.default_rng(1)
    for pieces in (1, 2, 5, 40, 400):
        cuts = np.sort(rng.integers(0, len(events), pieces)).tolist()
        assert events_sha256(passing(text, events, cuts)) == events_sha256(whole)
    assert events_sha256(passing(text, events[:300], list(range(300)))) == events_sha256(passing(text, events[:300]))


@pytest.mark.parametrize("text", EVERY)
def test_the_mask_says_which_events_passed(text: str) -> None:
    events = noise()
    passed, mask = Filters(text, (W, H))(events)
    assert (mask is None) == (len(passed) == len(events))
    mask = np.ones(len(events), bool) if mask is None else mask
    np.testing.assert_array_equal(events["t"][mask], passed["t"])


def test_hot_pixels_are_learnt_and_an_edge_that_moves_is_not_one() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(30_000) * 100  # 3 s
    x, y = rng.integers(0, W, len(t)), rng.integers(0, H, len(t))
    hot = rng.random(len(t)) < 0.2
    x[hot], y[hot] = 7, 3
    neighbour = rng.random(len(t)) < 0.2
    x[neighbour], y[neighbour] = 8, 3  # two hot ones beside each other
    events = make_events(t, x, y, np.ones(len(t), bool))
    filters = Filters("hot:1s", (W, H))
    passed, mask = filters(events)
    assert mask is not None and mask[:10_000].all()
    after = passed[passed["t"] >= 1_000_000]
    assert not ((after["x"] == 7) & (after["y"] == 3)).any() and not ((after["x"] == 8) & (after["y"] == 3)).any()
    assert len(after) == 20_000 - ((x == 7) & (y == 3))[10_000:].sum() - ((x == 8) & (y == 3))[10_000:].sum()
    assert filters.notes == ["hot pixels masked: (7, 3), (8, 3)"]
    edge = np.tile(np.repeat(np.arange(W), H), 40)  # a bar that runs over the sensor, again and again
    bar = make_events(np.arange(len(edge)) * 200, edge, np.tile(np.arange(H), W * 40), np.ones(len(edge), bool))
    steady = Filters("hot:1s", (W, H))
    assert len(steady(bar)[0]) == len(bar) and not steady.notes


def test_hot_learns_for_two_seconds_unless_it_is_told_otherwise() -> None:
    i = np.arange(300)  # 100 a second, 60 of them of one pixel
    events = make_events(i * 10_000, np.where(i % 5 < 3, 5, 10 + i // 5 % 10), i * 0 + 6, i >= 0)
    assert len(passing("hot", events)) == len(passing("hot:2s", events)) == 200 + 40
    assert len(passing("hot:1s", events)) == 100 + 80


def test_the_first_time_of_int64_is_a_time() -> None:
    twice = make_events([-(2**63)] * 2, [4, 4], [3, 3], [True, True])
    assert len(passing("refractory:3us", twice)) == 1


def test_geometry_is_as_it_says() -> None:
    one = make_events([7], [4], [3], [True])
    expected = {
        "roi:2:1:10:8": ((8, 7), (2, 2)),
        "roi:square": ((14, 14), (1, 3)),
        "down:2": ((10, 7), (2, 1)),
        "down:3": ((7, 5), (1, 1)),
        "flip:x": ((20, 14), (15, 3)),
        "flip:y": ((20, 14), (4, 10)),
        "rotate:90": ((14, 20), (10, 4)),
        "rotate:180": ((20, 14), (15, 10)),
        "rotate:270": ((14, 20), (3, 15)),
        "rotate:90,rotate:270": ((20, 14), (4, 3)),
        "flip:x,flip:y,rotate:180": ((20, 14), (4, 3)),
    }
    for text, (sensor, where) in expected.items():
        filters = Filters(text, (W, H))
        out = filters(one)[0]
        assert (filters.sensor, (int(out["x"][0]), int(out["y"][0]))) == (sensor, where), text
    assert not Filters("swap", (W, H))(one)[0]["p"][0]
    assert one["x"][0] == 4 and one["p"][0]  # what came in is as it was


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("warm", "'warm' is no filter; expected hot, refractory"),
        ("", "is no filter"),
        ("refractory", "a time is missing"),
        ("refractory:fast", "is not a time"),
        ("background:0ms", "from 1 on"),
        ("roi:1:2:3", "expected roi:X0:Y0:X1:Y1"),
        ("roi:0:0:21:14", "is not inside the 20x14 sensor"),
        ("roi:5:5:5:9", "X0 < X1"),
        ("roi:square,roi:0:0:20:14", "is not inside the 14x14 sensor"),
        ("roi:5:5:9:5", "Y0 < Y1"),
        ("roi:000000:0:5:5", "expected roi:X0"),
        ("down:0", "expected down:K"),
        ("down:02", "expected down:K"),
        ("down:10000", "expected down:K"),
        ("flip:z", "expected flip:x or flip:y"),
        ("rotate:45", "expected rotate:90"),
        ("rotate:090", "expected rotate:90"),
        ("swap:x", "takes nothing"),
        ("hot:", "expected hot, hot:2s or hot:FILE"),
        ("hot:ms", "no such file"),
        ("hot:1.2.3 s", "the time to learn in, '1.2.3 s', is not a time"),
        ("hot:.", "is a folder, not a file; expected a list of pixels"),
        ("hot:\0", "no such file"),
        ("hot:\udcff\ud800", "no such file"),
        ("swap," * 900, "a text of 4096 characters"),
    ],
)
def test_filters_that_cannot_be_are_refused_in_one_line(text: str, says: str) -> None:
    with pytest.raises(PlifError, match=says) as error:
        Filters(text, (W, H))
    assert "\n" not in str(error.value) and str(error.value).startswith("--filter ")


@pytest.mark.parametrize("name", ("hot", "refractory:1ms", "background:5ms"))
def test_what_remembers_every_pixel_is_refused_on_a_sensor_that_memory_does_not_hold(name: str) -> None:
    with pytest.raises(PlifError, match=r"--filter .*of a 65536x65536 sensor; expected at most"):
        Filters(name, (65536, 65536))
    assert Filters(f"roi:0:0:40:30,{name}", (65536, 65536)).sensor == (40, 30)


@pytest.mark.parametrize("sensor", [(0, 5), (5, 0), (65537, 5), (5, 65537)])
def test_a_sensor_that_cannot_be_is_refused(sensor: tuple[int, int]) -> None:
    with pytest.raises(PlifError, match=f"^a sensor of {sensor[0]} x {sensor[1]}; expected 1 x 1 to 65536 x 65536$"):
        Filters("swap", sensor)


def test_every_filter_is_in_the_documentation_and_in_the_line_that_refuses_another() -> None:
    assert all(f"    {name}" in (of_events.__doc__ or "") for name in SPECIFIED)
    with pytest.raises(PlifError, match=f"expected {', '.join(SPECIFIED)}$"):
        Filters("warm", (W, H))


@pytest.mark.parametrize("framing", ("duration:10ms", "events:n=300,max=10ms", "count:T=7"))
def test_what_a_filter_takes_is_in_the_account_and_time_goes_on(framing: str) -> None:
    source = open_source("sim:digits?seed=2&seconds=1")
    total = source.count()
    plain = list(SourceFramer(source, framing, (2, 34, 34)))
    frames = SourceFramer(source, framing, (2, 34, 34), filters="roi:0:0:10:34,background:1ms")
    filtered = list(frames)
    account = frames.account
    assert account.waiting == sum(frame.events for frame in filtered)
    step(frames, filtered)
    assert account.waiting == 0 and account.events_in == total and 0 < account.filtered < total
    if framing.startswith("duration"):  # the same grid, though many frames have nothing left in them
        assert [f.t_end_us for f in filtered] == [f.t_end_us for f in plain]
    if framing.startswith("count"):
        assert len({f.events for f in filtered[:-1]}) == 1 and len(filtered) == 7


def test_a_scene_in_which_nothing_passes_still_makes_frames() -> None:
    """Noise alone: without this, the last answer before it would stand for ever."""
    frames = SourceFramer(
        DigitSource("sim:digits?seed=2&seconds=1"), "duration:10ms", (2, 34, 34), filters="roi:0:0:1:1"
    )
    made = list(frames)
    assert len(made) > 90 and sum(frame.events for frame in made) == frames.account.waiting < 10


def test_no_events_are_no_problem() -> None:
    filters = Filters(",".join(EVERY), (W, H))
    passed, mask = filters(np.empty(0, EVENT_DTYPE))
    assert len(passed) == 0 and mask is None


@pytest.mark.parametrize("text", EVERY)
def test_what_filters_keep_goes_on_in_another_chain_and_is_refused_where_it_was_damaged(text: str) -> None:
    events = noise()
    for at in (0, 300, 2500):  # before an event came, while hot pixels are learnt, and after it
        first, second = Filters(text, (W, H)), Filters(text, (W, H))
        first(events[:at])
        second.snapshot = first.snapshot
        assert events_sha256(second(events[at:])[0]) == events_sha256(first(events[at:])[0])
        assert (second.snapshot == first.snapshot).all() and second.notes == (first.notes if at < 2500 else [])


Change = tuple[str, int, bytes]
ROW, ZERO_US = 8 * (W + 2), (1 << 63).to_bytes(8, "little")  # of what background keeps; the time 0 in memory


@pytest.mark.parametrize(
    "change",
    [
        ("refractory:3ms", 8, (1 << 62).to_bytes(8, "little")),
        ("background:2ms", 8, ZERO_US),
        ("background:2ms", ROW, ZERO_US),
        ("background:2ms", 2 * ROW - 8, ZERO_US),
        ("background:2ms", ROW * (H + 1) + 8, ZERO_US),
        ("background:2ms", ROW + 8, (1 << 62).to_bytes(8, "little")),
        ("hot:40ms", 0, b"\2"),
        ("hot:40ms", 0, b"\0"),
        ("hot:40ms", 8, (1).to_bytes(8, "little")),
        ("hot:40ms", 16, b"\xff" * 8),
        ("hot:40ms", 16 + 8 * W * H, b"\2"),
        ("hot:LIST", 0, b"\1"),
    ],
)
def test_what_no_filter_can_have_kept_is_refused_and_changes_nothing(change: Change, tmp_path: Path) -> None:
    text, at, content = change
    (tmp_path / "LIST").write_text("5,6\n")
    filters = Filters(f"refractory:1us,{text.replace('LIST', str(tmp_path / 'LIST'))}", (W, H))
    filters(noise(200))
    before, first = filters.snapshot, 8 * W * H
    damaged = before.copy()
    damaged[:first] = Filters("refractory:1us", (W, H)).snapshot  # that would be fine
    damaged[first + at : first + at + len(content)] = np.frombuffer(content, np.uint8)
    with pytest.raises(PlifError, match="damaged"):
        filters.snapshot = damaged
    assert (filters.snapshot == before).all()


def test_what_another_chain_kept_is_refused() -> None:
    filters = Filters("refractory:1ms", (W, H))
    for other in (Filters("background:1ms", (W, H)).snapshot, Filters("swap", (W, H)).snapshot):
        with pytest.raises(PlifError, match=f"{len(other)} bytes of what they remember; expected {8 * W * H}"):
            filters.snapshot = other


def test_marks_say_what_passes_and_what_is_not_to_be_looked_at_stays_as_it_is() -> None:
    events = make_events(range(8), [4, 5, 70, 6, 70, 4, W, 19], [3, 3, 3, 3, 3, 3, 3, H], [True] * 8)
    marks = np.array([1, 0, 0, 2, 2, 1, 1, 1], np.uint8)
    filters, moved = Filters("refractory:5us,flip:x", (W, H)), events.copy()
    assert library().plif_filters_apply(filters._handle, moved.ctypes.data, len(moved), marks.ctypes.data) == 2
    assert marks.tolist() == [1, 0, 0, 2, 2, 1, 2, 2] and moved["x"][[0, 5]].tolist() == [15, 15]
    left = [1, 2, 3, 4, 6, 7]
    assert (moved[left] == events[left]).all()
    passed, which = filters(make_events([100, 101], [4, W], [3, 3], [True] * 2))
    assert len(passed) == 1 and which is not None and which.tolist() == [True, False]


def test_filters_begin_anew_with_another_recording(tmp_path: Path) -> None:
    (tmp_path / "hot").write_text("1,1")
    events, text = noise(), f"hot:40ms,refractory:3ms,hot:{tmp_path / 'hot'},background:2ms,swap"
    filters = Filters(text, (W, H))
    first = filters(events)[0]
    assert filters.notes and len(filters(events)[0]) != len(first)
    kept = filters.snapshot
    library()["plif_filters_begin"](filters._handle)
    assert not filters.notes and (filters.snapshot == Filters(text, (W, H)).snapshot).all()
    filters.snapshot = kept
    assert not filters.notes  # these pixels were found before
    library()["plif_filters_begin"](filters._handle)
    assert events_sha256(filters(events)[0]) == events_sha256(first) and filters.notes


def test_the_notes_name_eight_hot_pixels_of_each_filter_that_found_some() -> None:
    x, y = np.meshgrid(np.arange(0, W, 2), np.arange(0, H, 3))
    x, y = np.tile(x.ravel()[:11], 30), np.tile(y.ravel()[:11], 30)
    events = make_events(np.arange(len(x)) * 10, x, y, np.ones(len(x), bool))
    filters = Filters("hot:2ms,hot:1us,flip:x,hot:1900us", (W, H))
    filters(events)
    named = ", ".join(f"({2 * i}, 0)" for i in range(8))
    flipped = ", ".join(f"({2 * i + 1}, 0)" for i in range(8))
    assert filters.notes == [f"hot pixels masked: {pixels} and 3 more" for pixels in (named, flipped)]


def test_a_pixel_has_neighbours_up_to_the_ends_of_the_largest_sensors() -> None:
    for size in ((65536, 256), (256, 65536)):
        last = [size[0] - 1, size[1] - 1]
        x, y = [0, last[0], last[0], last[0] - 1, 0], [1, 0, last[1], last[1], 0]
        passed = Filters("background:5us", size)(make_events(range(5), x, y, [True] * 5))[0]
        assert list(zip(passed["x"].tolist(), passed["y"].tolist(), strict=True)) == [(x[3], y[3]), (0, 0)]
