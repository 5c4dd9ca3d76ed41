"""Filters: the same however packets are cut; every event counted; refusals. tests/specification says what passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.base.errors import PlifError
from runtime.events import EVENT_DTYPE, events_sha256, make_events, open_source
from runtime.events.filters import FILTERS, Filters
from runtime.simulate.source import DigitSource
from runtime.stream.source_framer import SourceFramer
from tests.live import step

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
    events = noise(500)
    passed, mask = Filters(text, (W, H))(events)
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


def test_hot_pixels_can_be_given_as_a_list(tmp_path: Path) -> None:
    (tmp_path / "hot.txt").write_text("# of this camera\n5, 6\n\n0,0  # corner\n")
    events = noise()
    kept = passing(f"hot:{tmp_path / 'hot.txt'}", events)
    assert (
        len(kept) == ((events["x"] != 5) | (events["y"] != 6)).sum() - ((events["x"] == 0) & (events["y"] == 0)).sum()
    )
    (tmp_path / "bad.txt").write_text("5,6\n99,1\n")
    with pytest.raises(PlifError, match=r"bad.txt: line 2: '99,1' is no pixel x,y of the 20x14 sensor"):
        Filters(f"hot:{tmp_path / 'bad.txt'}", (W, H))
    with pytest.raises(PlifError, match=r"nowhere.txt: no such file; expected a list of pixels"):
        Filters("hot:nowhere.txt", (W, H))


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
        ("down:0", "expected down:K"),
        ("flip:z", "expected flip:x or flip:y"),
        ("rotate:45", "expected rotate:90"),
        ("swap:x", "takes nothing"),
        ("hot:", "expected hot, hot:2s or hot:FILE"),
        ("hot:.", "is a folder, not a file; expected a list of pixels"),
        ("hot:\0", "cannot be read .embedded null byte"),
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


def test_a_list_of_hot_pixels_is_read_no_further_than_a_list_can_be_long(tmp_path: Path) -> None:
    with open(tmp_path / "long", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PlifError, match="is larger than"):
        Filters(f"hot:{tmp_path / 'long'}", (W, H))


def test_every_filter_is_in_the_documentation() -> None:
    from runtime.events import filters

    assert all(f"    {name}" in (filters.__doc__ or "") for name in FILTERS)


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
    assert account.balanced and account.events_in == total and 0 < account.filtered < total
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
