"""The simulated performer: what it does is what the labels say, the same for ever, at the rates of a real camera."""

from __future__ import annotations

import json

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.data import open_dataset
from runtime.core.events import events_sha256, open_source
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.simulate_gesture import record_performer, simulate_gesture
from runtime.datasets.performers.figure import FORE_PX, SHOULDER, UPPER_PX
from runtime.datasets.performers.gestures import MIRRORED
from runtime.datasets.performers.other_gestures import OTHERS
from runtime.datasets.performers.performance import Bout, Manner, pose_at, record_bouts
from runtime.datasets.performers.performer import RANGES, draw_performer
from runtime.datasets.performers.schedule import draw_windows
from runtime.datasets.performers.wander import TENTHS_HELD_OUT, TENTHS_TRAINED, ParameterDraws
from runtime.datasets.simulated_camera.sensor import Camera, Sensor, simulate_events

T_S = np.arange(0, 4, 0.01)


def events_of(gesture: int, seed: int, seconds: float = 0.5, held_out: bool = False) -> np.ndarray:
    bout = Bout(Manner(gesture, (seed, gesture), held_out), 0, 10**9, 0)
    return np.concatenate(list(record_bouts(draw_performer((seed,), held_out), [bout], 0, int(seconds * 1e6), (seed,))))


def turning(x: np.ndarray, y: np.ndarray) -> float:
    """The area that a path goes around, positive when it goes clockwise in a picture whose y points down."""
    return float((x[:-1] * np.diff(y) - y[:-1] * np.diff(x)).sum() / 2)


# --- the stream ---------------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_events_however_they_are_read():
    spec = "sim:dvs128-gesture?seed=5&seconds=3"
    whole = np.concatenate(list(open_source(spec).packets()))
    pieces = np.concatenate(list(open_source(spec).packets(17)))
    assert events_sha256(whole) == events_sha256(pieces)
    other = np.concatenate(list(open_source("sim:dvs128-gesture?seed=6&seconds=3").packets()))
    assert events_sha256(other) != events_sha256(whole)


def test_a_longer_stream_begins_with_the_shorter_one():
    short, long = (
        np.concatenate(list(open_source(f"sim:dvs128-gesture?seed=5&seconds={s}").packets())) for s in (1, 2)
    )
    assert events_sha256(long[long["t"] < 980_000]) == events_sha256(short[short["t"] < 980_000])


def test_events_are_in_order_and_a_packet_spans_20_ms_at_most():
    last = 0
    for packet in open_source("sim:dvs128-gesture?seed=1&seconds=1").packets():
        if len(packet):
            assert packet["t"][0] >= last and (np.diff(packet["t"]) >= 0).all()
            assert packet["t"][-1] - packet["t"][0] <= 20_000
            last = packet["t"][-1]
    assert last <= 1_000_000


@pytest.mark.one_in(2)
@pytest.mark.parametrize("seed", [3, 8])
def test_the_truth_says_when_the_arms_move(seed):
    source = open_source(f"sim:dvs128-gesture?seed={seed}&seconds=9")
    t = np.concatenate(list(source.packets()))["t"]
    end_before = 0
    assert source.truth and len(source.truth) == len(source.recognisable_us)
    for (t_on, t_off, label), t_ready in zip(source.truth, source.recognisable_us, strict=True):
        assert end_before + 1_500_000 <= t_on <= t_off <= 9_000_000 and t_on + 200_000 <= t_ready
        assert label in CLASSES
        idle = ((t >= end_before + 100_000) & (t < t_on)).sum() / (t_on - end_before - 100_000)
        if t_off - t_ready > 500_000:
            active = ((t >= t_ready) & (t < t_off - 400_000)).sum() / (t_off - 400_000 - t_ready)
            assert active > 1.5 * idle, (label, active * 1e6, idle * 1e6)
        end_before = t_off


def test_a_gesture_can_be_asked_for_by_name_or_number():
    by_name = open_source("sim:dvs128-gesture?seed=2&seconds=20&gesture=air_drums").truth
    assert by_name == open_source("sim:dvs128-gesture?seed=2&seconds=20&gesture=8").truth
    assert {label for _, _, label in by_name} == {"air_drums"}


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("sim:dvs128-gesture?gesture=11", "gesture='11', expected 0 to 10"),
        ("sim:dvs128-gesture?gesture=waving", "hand_clapping"),
        ("sim:dvs128-gesture?split=val", "expected test or train"),
        ("sim:dvs128-gesture?second=3", "'second' is not understood"),
        ("sim:dvs128-gesture?seconds=-1", "above 0"),
        ("sim:dvs128", "'dvs128' is not simulated"),
    ],
)
def test_a_spec_that_is_not_understood_is_one_line(spec, words):
    with pytest.raises(PlifError, match=words.replace("?", r"\?")) as error:
        open_source(spec)
    assert "\n" not in str(error.value)


def test_the_camera_of_a_stream_sees_what_the_camera_of_a_recording_sees():
    rng = np.random.default_rng(0)
    frames = [(1000.0 * k, rng.random((16, 16), dtype=np.float32)) for k in range(1, 9)]
    sensor = Sensor(mismatch=0.2, leak_hz=5, bandwidth_hz=200)
    whole = simulate_events(frames, sensor, np.random.default_rng(1))
    camera = Camera(sensor, np.random.default_rng(1))
    parts = np.concatenate([camera.capture(frames[:3]), camera.capture(frames[3:4]), camera.capture(frames[4:])])
    assert len(whole) > 100 and events_sha256(parts) == events_sha256(whole)


# --- the gestures -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def performed():
    """Class -> the events of five performers, 0.3 s of each."""
    return {c: [events_of(c, seed, 0.3) for seed in range(200, 205)] for c in range(len(CLASSES))}


@pytest.mark.large
def test_rates_are_those_of_the_real_set(performed):
    """The six real clips have 44 to 105 thousand events a second."""
    medians = np.array([np.median([len(events) / 0.3 for events in them]) for them in performed.values()])
    assert 44e3 < np.median(medians) < 105e3
    assert (medians > 10e3).all() and (medians < 160e3).all(), medians


@pytest.mark.large
def test_both_polarities_are_about_as_frequent(performed):
    shares = [them[0]["p"].mean() for them in performed.values()]
    assert min(shares) > 0.42 and max(shares) < 0.58


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("gesture", "arm", "sign"), [(3, 0, -1), (4, 0, 1), (5, 1, -1), (6, 1, 1)])
def test_clockwise_is_meant_from_the_persons_own_side(gesture, arm, sign, seed):
    tip = Manner(gesture, (seed,)).pose_at(T_S).arms[:, arm, 2]
    assert np.sign(turning(tip[:, 0] - tip[:, 0].mean(), tip[:, 1] - tip[:, 1].mean())) == sign


@pytest.mark.parametrize("gesture", range(1, 7))
def test_the_arm_that_moves_is_the_one_in_the_name_and_a_mirror_swaps_it(gesture):
    for which in (gesture, MIRRORED[gesture]):
        arm = 0 if CLASSES[which].startswith("right") else 1
        moves = Manner(which, (4,)).pose_at(T_S).arms[:, :, 2].std(axis=0).sum(axis=1)
        assert moves[arm] > 4 * moves[1 - arm]
    assert CLASSES[gesture].startswith("right") != CLASSES[MIRRORED[gesture]].startswith("right")
    assert MIRRORED[MIRRORED[gesture]] == gesture


def test_the_persons_right_is_on_the_left_of_the_picture():
    for seed in range(3):
        right, left = (events_of(gesture, seed) for gesture in (1, 2))
        assert np.median(right["x"]) + 15 < np.median(left["x"])


def test_the_real_right_arm_clockwise_turns_as_the_simulated_one(clips):
    events = np.concatenate(list(open_source(str(clips / "3_right_arm_clockwise.bs2"), sensor=(128, 128)).packets()))
    middle = [events[(events["t"] >= t) & (events["t"] < t + 50_000)] for t in range(0, 1_400_000, 50_000)]
    x, y = (np.array([np.median(part[name]) for part in middle]) for name in ("x", "y"))
    assert turning(x - x.mean(), y - y.mean()) < 0


@pytest.mark.parametrize("gesture", range(len(CLASSES)))
def test_bones_keep_their_length_and_poses_do_not_depend_on_how_time_is_cut(gesture):
    others = sorted(OTHERS) if CLASSES[gesture] == "other_gestures" else [None]
    for other in others:
        manner = Manner(gesture, (9, gesture), other_kind=other)
        pose, part = manner.pose_at(T_S), manner.pose_at(T_S[100:140])
        np.testing.assert_allclose(part.arms, pose.arms[100:140], atol=1e-9)
        np.testing.assert_allclose(part.body, pose.body[100:140], atol=1e-9)
        lengths = np.linalg.norm(pose.arms[:, :, 1] - pose.arms[:, :, 0], axis=2)
        assert np.isfinite(pose.arms).all() and lengths.max() < FORE_PX * 1.35
        shoulder = np.array([[-SHOULDER[0], SHOULDER[1], 0.0], [SHOULDER[0], SHOULDER[1], 0.0]])
        assert np.linalg.norm(pose.arms[:, :, 0] - shoulder, axis=2).max() < UPPER_PX * 1.6


def test_arms_hang_before_and_after_a_bout():
    bout = Bout(Manner(1, (3,)), 1_000_000, 3_000_000, 300_000)
    tips = pose_at([bout], np.array([990_000, 1_000_000, 2_000_000, 2_999_999, 3_100_000]), (3,)).arms[:, 0, 2, 1]
    assert tips[2] < 20 and (tips[[0, 1, 3, 4]] > 50).all()


# --- held-out performers ------------------------------------------------------------------------------------------------


def test_held_out_performers_share_no_value_of_a_parameter_with_the_others():
    assert not set(TENTHS_HELD_OUT) & set(TENTHS_TRAINED)
    for name, (low, high) in RANGES.items():
        found = {}
        for held_out in (False, True):
            values = [ParameterDraws((seed,), held_out).within(low, high) for seed in range(200)]
            assert low <= min(values) and max(values) <= high, name
            found[held_out] = set(np.floor((np.array(values) - low) / (high - low) * 10).astype(int).tolist())
        assert found == {True: set(TENTHS_HELD_OUT), False: set(TENTHS_TRAINED)}, name


def test_a_performer_is_the_same_for_ever_and_another_one_for_another_seed_or_half():
    one, again, other, held = (
        draw_performer((seed,), half) for seed, half in ((1, False), (1, False), (2, False), (1, True))
    )
    assert one.sensor == again.sensor and np.array_equal(one.look.background, again.look.background)
    assert one.sensor != other.sensor and one.sensor != held.sensor


# --- the set ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded():
    """(seed, split, number) -> the events and labels that `record` gave while the set was made."""
    return {}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, recorded):
    """One performer a split: 12 windows each."""

    def keep(*arguments):
        recorded[arguments[:4]] = record_performer(*arguments)
        return recorded[arguments[:4]]

    folder = tmp_path_factory.mktemp("gestures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runtime.datasets.gesture_sim.simulate_gesture.record_performer", keep)
        simulate_gesture(folder, train=1, test=1, seed=4, workers=1)
    return folder


@pytest.mark.one_in(2)
@pytest.mark.parametrize("split", ("train", "test"))
def test_the_set_is_read_as_dvs128_gesture_with_as_many_frames_for_each_sample(folder, split):
    data = open_dataset(f"dvs128-gesture:{folder}", split, framing="duration:40ms,value=binary")
    assert len(data) == 12 and data.classes == CLASSES
    assert sorted(data.label(i) for i in range(12)) == [*range(10), 10, 10]
    frames = [data.sample(i) for i in range(0, 12, 5)]
    assert {frame.shape for frame in frames} == {(20, 2, 128, 128)} and all(frame.sum() > 500 for frame in frames)


@pytest.mark.parametrize(("split", "user", "seeds"), [("train", 1, (4, 0, 0)), ("test", 90_001, (4, 1, 0))])
def test_a_recording_of_the_set_holds_every_event(folder, recorded, split, user, seeds):
    events, rows = recorded[4, split, 0, "windows"]
    source = open_source(str(folder / f"user{user:05d}_simulated.aedat"))
    assert events_sha256(np.concatenate(list(source.packets()))) == events_sha256(events) and not source.notes
    assert [(gesture, start) for gesture, start, _ in rows] == [
        (bout.manner.gesture, start) for start, _, bout in draw_windows(seeds, split == "test")
    ]


@pytest.mark.large
def test_a_set_that_was_interrupted_is_continued_and_another_one_is_not_mixed_in(folder):
    before = (folder / "user00001_simulated.aedat").read_bytes()
    (folder / "user00001_simulated.aedat").unlink()
    simulate_gesture(folder, train=1, test=1, seed=4, workers=1)
    assert (folder / "user00001_simulated.aedat").read_bytes() == before
    assert json.loads((folder / "simulated.json").read_text())["seed"] == 4
    with pytest.raises(PlifError, match="another seed"):
        simulate_gesture(folder, train=1, test=1, seed=5, workers=1)


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(PlifError, match="choose a new or an empty folder"):
        simulate_gesture(tmp_path, train=1, test=1)
