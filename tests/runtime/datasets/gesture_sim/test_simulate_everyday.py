"""Everyday people, things, and harder conditions: deterministic, held out by parts of the ranges, as busy as they should be."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import events_sha256, open_source
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.simulate_gesture import PARTS, record_performer, simulate_gesture
from runtime.datasets.performers.everyday import EVERYDAY
from runtime.datasets.performers.performance import Bout, Manner, pose_at, record_bouts
from runtime.datasets.performers.performer import VARIED, draw_performer
from runtime.datasets.performers.schedule import OTHER, draw_everyday, draw_short_bouts, vary_pace
from runtime.datasets.performers.things import ObjectPainter, draw_objects
from tests.runtime.datasets.gesture_sim.conftest import shorten

T_S = np.arange(0, 4, 0.01)


def events_of(varied: str | None, seed: int = 3, seconds: float = 0.3) -> np.ndarray:
    bout = Bout(Manner(1, (seed, 1)), 0, 10**9, 0)
    return np.concatenate(
        list(record_bouts(draw_performer((seed,), False, varied), [bout], 0, int(seconds * 1e6), (seed,)))
    )


@pytest.mark.parametrize("name", list(EVERYDAY))
def test_everyday_movements_are_smooth_and_no_wave(name: str) -> None:
    """No joint jumps, and no wrist swings as wide and as fast as a wave does."""
    for seed in range(4):
        pose = Manner(OTHER, (seed, 9), other_kind=name).pose_at(T_S)
        assert np.isfinite(pose.arms).all() and np.isfinite(pose.body).all()
        wrist = pose.arms[:, :, 1]
        assert np.abs(np.diff(wrist, axis=0)).max() < 6
        moved = wrist[:, :, 0] - wrist[:, :, 0].mean(0)
        spectrum = np.abs(np.fft.rfft(moved * np.hanning(len(T_S))[:, None], axis=0)) * 4 / len(T_S)
        fast = np.fft.rfftfreq(len(T_S), 0.01) > 1.3
        assert spectrum[fast].max() < 5  # pixels; a wave has 8 to 32


def test_a_slow_wave_is_half_as_fast_and_a_hesitant_one_rises_and_falls() -> None:
    def pace(manner: Manner) -> float:
        x = manner.pose_at(np.arange(0, 20, 0.01)).arms[:, 0, 1, 0]
        return float(np.argmax(np.abs(np.fft.rfft(x - x.mean()))) / 20)

    usual = Manner(1, (4, 5))
    assert 0.4 < pace(Manner(1, (4, 5), slow=0.5)) / pace(usual) < 0.6
    steps = [
        np.abs(np.diff(Manner(1, (4, 5), hesitant=h).pose_at(T_S).arms[:, 0, 1, 0])).reshape(-1, 19)[:, ::1].mean(1)
        for h in (0.0, 0.9)
    ]
    assert steps[1].std() / steps[1].mean() > steps[0].std() / steps[0].mean()
    slows = [vary_pace(Manner(1, (k,))).slow for k in range(60)]
    assert min(slows) < 0.6 and 25 < sum(slow == 1.0 for slow in slows) < 55


@pytest.mark.large
def test_faint_people_give_few_events_and_flicker_many() -> None:
    counts = {
        varied: np.median([len(events_of(varied, seed)) for seed in range(4)]) for varied in (None, "faint", "lamps")
    }
    assert counts["faint"] < 0.5 * counts[None]
    assert max(len(events_of("lamps", seed)) for seed in range(4)) > 1.5 * max(
        len(events_of(None, seed)) for seed in range(4)
    )


@pytest.mark.large
def test_textured_recordings_have_more_pixels_of_both_polarities() -> None:
    def both(events: np.ndarray) -> float:
        step = events["t"] // 20_000
        cells = np.unique(np.stack([step, events["y"], events["x"], events["p"]], 1).astype(np.int64), axis=0)
        _, counts = np.unique(cells[:, :3], axis=0, return_counts=True)
        return float((counts == 2).mean())

    usual, textured = ([both(events_of(kind, seed)) for seed in range(5)] for kind in (None, "texture"))
    assert 0.15 < np.median(textured) < 0.40 and np.median(textured) > np.median(usual)


def test_held_out_conditions_share_no_value() -> None:
    low, high = VARIED["flicker"]
    tenths = {
        held_out: {int(10 * (draw_performer((k,), held_out, "lamps").flicker - low) / (high - low)) for k in range(80)}
        for held_out in (False, True)
    }
    assert tenths[True] == {2, 7} and not tenths[False] & {2, 7}


def test_things_move_slowly_and_differ() -> None:
    for seed in range(10):
        for thing in draw_objects((seed,)):
            joints = thing.joints(T_S)
            assert joints.shape == (len(T_S), len(thing.lengths) + 1, 2)
            lengths = np.linalg.norm(np.diff(joints, axis=1), axis=2)
            assert np.allclose(lengths, thing.lengths)
            angle = np.unwrap(np.arctan2(*(joints[:, 1] - joints[:, 0]).T[::-1]))
            assert np.abs(np.diff(angle)).max() / 0.01 < 2 * np.pi * 0.7 * 1.5  # radians a second
    place = draw_performer((1,))
    first, second = ObjectPainter(place, draw_objects((1,))).paint(np.array([0, 200_000]))
    assert first.shape == (128, 128) and not np.array_equal(first, second)


@pytest.mark.parametrize("part", ["sessions", "everyday", "things"])
def test_a_part_is_always_the_same_and_its_rows_say_what_is_done(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch)
    events, rows = record_performer(1, "train", 0, part)
    again, same = record_performer(1, "train", 0, part)
    assert events_sha256(events) == events_sha256(again) and rows == same
    assert (np.diff(events["t"]) >= 0).all() and all(0 <= a < b for _, a, b in rows)
    assert {CLASSES[label] for label, _, _ in rows} == {"other_gestures"} or part == "sessions"


def test_a_row_of_a_session_begins_when_the_gesture_can_be_recognised() -> None:
    bouts = list(draw_short_bouts((1, 2), False, 12_000_000))
    assert len(bouts) >= 3 and all(b.manner.gesture != OTHER for b in bouts)
    assert all(a.t_off_us + 500_000 <= b.t_on_us for a, b in pairwise(bouts))


def test_an_everyday_recording_never_stands_still_for_long() -> None:
    bouts = list(draw_everyday((5,), False, 60_000_000))
    pauses = [b.t_on_us - a.t_off_us for a, b in pairwise(bouts)]
    assert max(pauses) <= 1_500_000 and {b.label for b in bouts} == {"other_gestures"}
    times = np.arange(0, 60_000_000, 5_000)
    x = pose_at(bouts, times, (5,)).arms[:, :, 1]
    assert np.abs(np.diff(x, axis=0)).max() < 12


def test_an_unknown_part_is_refused(tmp_path) -> None:
    with pytest.raises(PlifError, match=f"part 'crowds', expected {', '.join(PARTS)}"):
        simulate_gesture(tmp_path / "out", train=1, test=1, part="crowds")


@pytest.mark.parametrize("scene", ["everyday", "things"])
def test_a_stream_of_everyday_life_has_no_truth_and_is_always_the_same(scene: str) -> None:
    spec = f"sim:dvs128-gesture?scene={scene}&seed=4&seconds=0.4"
    source = open_source(spec)
    events = np.concatenate(list(source.packets()))
    assert source.truth == [] and len(events) > 100 and (np.diff(events["t"]) >= 0).all()
    assert events_sha256(events) == events_sha256(np.concatenate(list(open_source(spec).packets(99))))


def test_a_look_changes_the_events_and_not_the_truth() -> None:
    usual, faint = (open_source(f"sim:dvs128-gesture?seed=4&seconds=9{look}") for look in ("", "&look=faint"))
    assert usual.truth == faint.truth
    with pytest.raises(PlifError, match="look='dim', expected usual or faint or lamps or texture or plain"):
        open_source("sim:dvs128-gesture?look=dim")
    with pytest.raises(PlifError, match="scene='crowd', expected gestures or everyday or moves or things"):
        open_source("sim:dvs128-gesture?scene=crowd")
