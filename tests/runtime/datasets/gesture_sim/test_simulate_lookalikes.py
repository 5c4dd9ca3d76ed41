"""Bare hands, raised arms and things that swing: what they look like, and that what measures trained nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runtime.datasets.gesture_sim.lookalikes import RAISED_MEASURED, RAISED_TRAINED, draw_raised_steps, list_kinds
from runtime.datasets.gesture_sim.simulate_gesture import record_performer
from runtime.datasets.gesture_sim.staging import Staging
from runtime.datasets.motion.drawn import MoveMotion
from runtime.datasets.motion.joints import J
from runtime.datasets.performers import swinging
from runtime.datasets.performers.gestures import CLASSES
from runtime.datasets.performers.hands import GESTURES, NO_GESTURES, HandMoments, HandMotion, HandPainter, list_bones
from runtime.datasets.performers.performer import draw_performer
from runtime.datasets.performers.schedule import OTHER
from tests.runtime.datasets.gesture_sim.conftest import shorten

T_S = np.linspace(0, 4, 400, endpoint=False)


def test_a_hand_has_the_sizes_of_a_hand() -> None:
    ends = np.array([bone[:2] for bone in list_bones(0.0)])
    fingers, palm = ends[1:], ends[1:5, 1]
    assert 16 <= fingers[:, 1, 1].max() <= 21  # cm from the wrist to the tip of the middle finger
    assert 7 <= np.ptp(palm[:, 0]) + 2 * 0.85 <= 9.5
    closed = np.array([bone[:2] for bone in list_bones(1.0)])[1:]
    assert closed[:, 1, 1].max() < 0.75 * fingers[:, 1, 1].max() and closed[:, 1, 2].max() > 2  # over the palm


@pytest.mark.parametrize("kind", GESTURES[2:])
def test_a_circle_goes_the_persons_way_round(kind: str) -> None:
    """theta grows clockwise in the picture, since Y points down; the person sees the other way round (gestures.py)."""
    for seed in range(6):
        wrist = HandMotion(kind, (seed,), False).at(T_S).wrist[:, :2]
        x, y = (wrist - wrist.mean(0)).T
        turns = np.diff(np.unwrap(np.arctan2(y, x))).sum() / (2 * np.pi)
        assert abs(turns) > 0.8 and (turns > 0) == ("counter" in kind)


@pytest.mark.parametrize("kind", GESTURES)
def test_the_forearm_comes_from_the_side_that_names_the_class(kind: str) -> None:
    sides = {}
    for seed in range(8):
        motion = HandMotion(kind, (seed, 1), False)
        at = motion.at(T_S)
        elbow_x = at.wrist[:, 0] - np.sin(at.lean)  # against the wrist: the forearm leads from the hand to its elbow
        sides[seed] = float(np.mean(elbow_x - at.wrist[:, 0])) * motion.side
    assert sum(side > -0.1 for side in sides.values()) >= 7 and motion.side == (-1 if kind.startswith("right") else 1)


def upright(at: HandMoments, roll: float) -> HandMoments:
    return replace(at, lean=0 * at.lean, roll=0 * at.roll + roll, pitch=0 * at.pitch, closed=0 * at.closed)


def test_a_hand_from_its_edge_is_narrower_and_skin_is_nearly_plain() -> None:
    place = draw_performer((3,), False)
    motion = HandMotion("still", (3,), False)
    at, painter = motion.at(T_S[:1]), HandPainter(place, motion, (3,))
    flat, edge = (
        np.ptp(np.array([limb[1] for limb in painter._limbs_at(upright(at, roll), 0)])[:, 0])
        for roll in (0.0, np.pi / 2)
    )
    assert edge < 0.5 * flat
    assert painter._textures.std() < 0.16


def test_what_no_gesture_is_does_not_swing_to_and_fro_like_a_wave() -> None:
    for kind in NO_GESTURES:
        for seed in range(4):
            wrist = HandMotion(kind, (seed, 2), True).at(T_S).wrist
            x = wrist[:, 0] - wrist[:, 0].mean()
            crossings = np.count_nonzero(np.diff(np.sign(x)) != 0)
            assert np.abs(x).max() < 2 or crossings <= 14, (kind, seed)  # a wave of 2 Hz crosses 16 times


@pytest.mark.parametrize("part", ["raised", "swings"])
def test_what_measures_is_another_kind_than_what_trains(part: str) -> None:
    assert not set(list_kinds(part, True)) & set(list_kinds(part, False)) and len(list_kinds(part, True)) == 5


@pytest.mark.parametrize("name", [*RAISED_MEASURED, *RAISED_TRAINED])
def test_a_raised_arm_goes_up_and_comes_down_again(name: str) -> None:
    for seed in range(4):
        moves = MoveMotion((seed, 5), True, 9.0, (name,), draw_raised_steps, yaw_deg=50.0)
        joints = moves.joints_at(np.linspace(0, 9, 300))
        high = np.maximum(joints[:, J["Rwri"], 1], joints[:, J["Lwri"], 1]) - joints[:, J["hips"], 1]
        assert np.isfinite(joints).all() and np.ptp(high) > 0.15 and moves.yaw_deg == 50


def test_a_pendulum_has_one_period_and_a_rotor_turns_one_way() -> None:
    t_s = np.linspace(0, 20, 2000)
    (cord, *_) = swinging.draw_swinging("cord", (2,), True)
    x = cord.joints(t_s)[:, 1, 0]
    spectrum = np.abs(np.fft.rfft(x - x.mean()))
    peak_hz = np.fft.rfftfreq(len(t_s), 20 / 2000)[spectrum.argmax()]
    assert 0.45 <= peak_hz <= 1.5 and spectrum.max() ** 2 > 0.5 * (spectrum**2).sum()
    (fan, *_) = swinging.draw_swinging("fan", (2,), True)
    hub, tip = fan.joints(t_s)[:, 0], fan.joints(t_s)[:, 1]
    angle = np.unwrap(np.arctan2(*(tip - hub).T[::-1]))
    assert abs(angle[-1] - angle[0]) / 20 / (2 * np.pi) > 0.5


@pytest.mark.parametrize("kind", [*swinging.TRAINED, *swinging.MEASURED])
def test_each_thing_that_swings_has_a_radius_for_each_point_and_moves(kind: str) -> None:
    for thing in swinging.draw_swinging(kind, (4,), kind in swinging.MEASURED):
        points = thing.joints(np.linspace(0, 2, 50))
        assert points.shape[1:] == (len(thing.radii), 2) and len(thing.tones) == len(thing.radii) - 1 == len(
            thing.textures
        )
        assert np.ptp(points, axis=0).max() > 1


def test_recordings_of_them_are_windows_and_scenes_with_their_class(monkeypatch: pytest.MonkeyPatch) -> None:
    events, rows = record_performer(8, "test", 0, "hands", Staging())
    assert sorted(gesture for gesture, _, _ in rows) == sorted(
        [*(CLASSES.index(kind) for kind in GESTURES), *[OTHER] * 6]
    )
    assert (np.diff(events["t"].astype(np.int64)) >= 0).all() and events["t"][-1] <= rows[-1][2]
    assert all(end - start == 800_000 for _, start, end in rows)
    shorten(monkeypatch)
    for part in ("raised", "swings"):
        events, rows = record_performer(8, "train", 1, part, Staging(laws=2, view="whole"))
        again = record_performer(8, "train", 1, part, Staging(laws=2, view="whole"))[0]
        assert {gesture for gesture, _, _ in rows} == {OTHER} and np.array_equal(events, again) and len(events)
