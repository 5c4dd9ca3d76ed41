"""People's own gestures and their moves, near and far and in part, before plain cameras; what was made before stays as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.core.base.errors import PlifError
from runtime.core.events import events_sha256, open_source
from runtime.datasets.dvs128_gesture.set import CLASSES
from runtime.datasets.gesture_sim.simulate_gesture import Staging, record_performer, simulate_gesture
from runtime.datasets.motion.drawn import MOVES, BodyPose, GestureMotion, MoveMotion, draw_painter, pose_to_joints
from runtime.datasets.motion.joints import J, facing_angle
from runtime.datasets.motion.people import MotionPainter, Viewpoint, draw_view
from runtime.datasets.performers.figure import SHOULDER
from runtime.datasets.performers.gestures import WIDE_PACES
from runtime.datasets.performers.options import VIEWS
from runtime.datasets.performers.performance import Bout, Manner, record_bouts
from runtime.datasets.performers.performer import draw_performer
from tests.runtime.datasets.gesture_sim.conftest import shorten
from tests.runtime.datasets.motion.motions import waving, write_collection

T_S = np.arange(0, 8, 0.01)
WAVE = CLASSES.index("right_hand_wave")


def wave(seed: int, wide: bool) -> np.ndarray:
    """Elbow, wrist and finger tip of the right arm [T, 3, 3]."""
    return Manner(WAVE, (seed, 7), wide=wide).pose_at(T_S).arms[:, 0]


# --- laws ---------------------------------------------------------------------------------------------------------------


def test_waves_of_people_have_the_elbow_above_the_shoulder_in_half_of_them_and_are_half_as_fast() -> None:
    usual, wide = ([wave(seed, kind) for seed in range(80)] for kind in (False, True))
    above = [np.mean([np.median(arm[:, 0, 1]) < SHOULDER[1] for arm in arms]) for arms in (usual, wide)]
    assert above[0] < 0.3 and 0.35 < above[1] < 0.65
    head = np.mean([np.median(arm[:, 2, 1]) < -12 for arm in wide])  # the finger tips are beside the head or above it
    assert 0.4 < head < 0.95

    def pace(arm: np.ndarray) -> float:
        x = arm[:, 2, 0] - arm[:, 2, 0].mean()
        return float(np.argmax(np.abs(np.fft.rfft(x))) / 8)

    paces = [np.median([pace(arm) for arm in arms]) for arms in (usual, wide)]
    assert 1.0 < paces[1] < 0.7 * paces[0]


def test_some_wave_from_the_wrist_with_the_forearm_still() -> None:
    still = []
    for arm in (wave(seed, True) for seed in range(80)):
        swing, forearm = np.ptp(arm[:, 2, 0] - arm[:, 1, 0]), np.ptp(arm[:, 1, 0] - arm[:, 0, 0])
        still.append(swing > 5 and forearm < 5)
    assert 0.1 < np.mean(still) < 0.45


@pytest.mark.parametrize("gesture", range(10))
def test_wide_gestures_keep_their_bones_and_their_name(gesture: int) -> None:
    for seed in range(4):
        arms = Manner(gesture, (seed, 3), wide=True).pose_at(T_S).arms
        assert np.isfinite(arms).all() and np.linalg.norm(arms[:, :, 1] - arms[:, :, 0], axis=2).max() < 24 * 1.35
        assert np.linalg.norm(arms[:, :, 2] - arms[:, :, 1], axis=2) == pytest.approx(11, abs=0.3)
        if CLASSES[gesture].startswith(("right", "left")):
            moves = arms[:, :, 2].std(axis=0).sum(axis=1)
            assert moves.argmax() == CLASSES[gesture].startswith("left")
    assert set(WIDE_PACES) == set(CLASSES[:10])


def test_laws_1_are_as_they_were() -> None:
    """Another gesture would be another set: numbers that were looked at before there were laws 2."""
    found = [float(Manner(g, (9, g)).pose_at(T_S[:3]).arms[2].sum()) for g in range(10)]
    assert found == pytest.approx(LAWS_1, abs=1e-6)


LAWS_1 = [
    372.891931,
    192.65099,
    213.15383,
    96.050161,
    166.3316,
    221.830233,
    -19.919733,
    202.317097,
    110.569719,
    92.761563,
]


# --- moves --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", dict.fromkeys(MOVES))
def test_a_move_is_smooth_and_of_a_body_whose_bones_keep_their_length(name: str) -> None:
    for seed in range(3):
        moves = MoveMotion((seed, 1), False, 6.0, (name,))
        joints = moves.joints_at(np.arange(0, 6, 0.005))
        jump = np.abs(np.diff(joints, axis=0)).max(axis=(1, 2))
        assert np.isfinite(joints).all() and np.sort(jump)[-4 if name == "lowers" else -1] < 0.06  # metres in 5 ms
        for a, b, long in (
            ("Lhip", "Lkne", 0.41),
            ("Rkne", "Rank", 0.41),
            ("Lsho", "Lelb", 0.28),
            ("Relb", "Rwri", 0.258),
        ):
            assert np.linalg.norm(joints[:, J[a]] - joints[:, J[b]], axis=1) == pytest.approx(long, abs=0.012)
        assert {what for what, _ in moves.moves} == {name}


def test_who_sits_down_is_lower_who_bows_leans_and_who_turns_looks_elsewhere() -> None:
    high = MoveMotion((4, 1), False, 20.0, ("stands up",)).joints_at(T_S)[:, J["hips"], 1]
    assert np.ptp(high) > 0.25
    bows = MoveMotion((4, 1), False, 8.0, ("bows",)).joints_at(T_S)
    assert np.ptp(bows[:, J["neck"], 2] - bows[:, J["hips"], 2]) > 0.2
    assert np.ptp(facing_angle(MoveMotion((4, 1), False, 8.0, ("turns",)).joints_at(T_S))) > 0.4
    raised = [MoveMotion((k, 1), False, 8.0, ("raises and holds",)).joints_at(T_S) for k in range(6)]
    for joints in raised:
        wrists = joints[:, [J["Lwri"], J["Rwri"]], 1] - joints[:, [J["Lsho"]], 1]
        up = (wrists > 0).any(1)
        assert wrists[up].max() > 0.05 and up.mean() < 0.95
    longest = max(np.diff(np.flatnonzero(np.abs(np.diff(j[:, J["Rwri"], 1])) > 0.004)).max(initial=0) for j in raised)
    assert longest * 0.01 > 0.8  # seconds held


def test_a_wave_swings_and_a_held_arm_does_not() -> None:
    """What tells them apart: in no move a wrist swings to and fro as in a wave."""
    for seed in range(6):
        joints = MoveMotion((seed, 2), False, 8.0).joints_at(T_S)
        for wrist in ("Lwri", "Rwri"):
            x = joints[:, J[wrist], 0] - joints[:, J["hips"], 0]
            turns = np.sum(np.diff(np.sign(np.where(np.abs(np.diff(x)) > 0.002, np.diff(x), 0))) != 0)
            assert turns < 40


# --- views --------------------------------------------------------------------------------------------------------------


def acting(gesture: int, seconds: float = 0.4) -> GestureMotion:
    bout = Bout(Manner(gesture, (3, gesture), wide=True), -(10**6), 10**9, 0)
    return GestureMotion([bout], 0, int(seconds * 1e6), (3,), 1.0)


def covered(view: Viewpoint, gesture: int = WAVE) -> np.ndarray:
    performer = draw_performer((3,))
    picture = next(MotionPainter(performer, acting(gesture), view).paint(np.array([200_000])))
    return np.abs(picture - performer.look.background) > 0.01


def test_a_drawn_pose_as_joints_is_painted_where_the_figure_is() -> None:
    performer = draw_performer((3,))
    bout = Bout(Manner(WAVE, (3, WAVE)), -(10**6), 10**9, 0)
    shown = GestureMotion([bout], 0, 400_000, performer.seed, performer.scale)
    assert shown.arms == "right" and acting(8).arms == "both"
    seen = next(MotionPainter(performer, shown, Viewpoint()).paint(np.array([100_000])))
    pose = bout.manner.pose_at(np.array([1.1]))
    drawn = performer.make_painter().paint(pose, 0)
    wall = performer.look.background
    one, other = (np.abs(picture - wall) > 0.01 for picture in (seen, drawn))
    assert (one & other).sum() / (one | other).sum() > 0.8
    assert pose_to_joints(pose, 1.0)[0, J["Lsho"], 0] > 0  # the left is at +X


def test_near_shows_the_forearm_and_the_hand_alone_and_far_the_whole_body_small() -> None:
    near, far, whole = (covered(draw_view(kind, (5,), False, "right")) for kind in ("near", "far", "whole"))
    assert far.sum() < 0.4 * whole.sum() and 500 < near.sum() < 6000
    forearm = covered(Viewpoint(distance_m=1.0, towards="Rwri", position=(64, 64), visible="right"))
    body = covered(Viewpoint(distance_m=1.0, towards="Rwri", position=(64, 64)))
    assert forearm.sum() < 0.7 * body.sum() and (forearm & ~body).sum() < 20
    with pytest.raises(PlifError, match="view 'side', expected whole, far, cut, near"):
        draw_view("side", (5,), False)


def test_somebody_lies_with_the_head_on_the_right_and_a_scene_without_anybody_is_known() -> None:
    up, right = (
        np.argwhere(covered(Viewpoint(roll_deg=roll, distance_m=4, position=(64, 50)))).mean(0) for roll in (0, 90)
    )
    assert up[0] > 60 and right[1] < 60  # the body below the shoulders: down, or to the left
    empty = MotionPainter(draw_performer((3,)), acting(WAVE), Viewpoint(position=(900.0, 50.0)))
    assert not empty.visible_joints(np.array([0])).any() and not covered(Viewpoint(position=(900.0, 50.0))).any()
    assert (
        MotionPainter(draw_performer((3,)), acting(WAVE), Viewpoint())
        .visible_joints(np.array([0, 5000]), ["head", "Rwri"])
        .all()
    )


@pytest.mark.parametrize("kind", VIEWS)
def test_a_gesture_that_is_learnt_is_seen(kind: str) -> None:
    for gesture in range(10):
        painter = draw_painter(draw_performer((gesture,)), acting(gesture), kind, (gesture, 1))
        wrists = painter.visible_joints(np.arange(0, 400_000, 50_000), acting(gesture).visible)
        assert wrists.any(1).mean() >= 0.75, CLASSES[gesture]


def test_held_out_views_share_no_value() -> None:
    tenths = {
        half: {int((draw_view("far", (k,), half).distance_m - 4) / 0.3) for k in range(60)} for half in (False, True)
    }
    assert tenths[True] == {2, 7} and not tenths[False] & {2, 7}


# --- cameras ------------------------------------------------------------------------------------------------------------


def test_a_plain_camera_gives_few_events_and_mostly_noise() -> None:
    """Real cameras that were measured: 3 to 25 thousand events a second, 14 to 55 % of the active pixels alone in 20 ms."""

    def seen(look: str | None, seed: int) -> tuple[float, float]:
        bout = Bout(Manner(1 + seed, (seed, 8)), -(10**6), 10**9, 0)
        events = np.concatenate(
            list(record_bouts(draw_performer((seed, 77), False, look), [bout], 0, 200_000, (seed,)))
        )
        alone = []
        for t in (100_000, 160_000):
            part = events[(events["t"] >= t) & (events["t"] < t + 20_000)]
            active = np.zeros((130, 130), bool)
            active[part["y"] + 1, part["x"] + 1] = True
            around = sum(np.roll(active, (dy, dx), (0, 1)).astype(int) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
            alone.append((active & (around == 1)).sum() / active.sum())
        return len(events) / 0.2, float(np.mean(alone))

    usual, plain = (np.median([seen(look, seed) for seed in range(7)], axis=0) for look in (None, "plain"))
    assert plain[0] < 0.4 * usual[0] and 3e3 < plain[0] < 30e3 and plain[1] > 1.5 * usual[1] and plain[1] > 0.35
    ratios = [
        s.threshold_on / s.threshold_off for s in (draw_performer((k,), False, "plain").sensor for k in range(60))
    ]
    assert min(ratios) < 0.5 and max(ratios) > 2


# --- sets and sources ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["windows", "sessions", "moves", "people"])
def test_a_part_with_a_staging_is_always_the_same_and_another_without(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch)
    write_collection(tmp_path / "all.npz", ("a", "b"), waving(60))
    motions = str(tmp_path / "all.npz") if part == "people" else None
    staging = Staging(laws=2, view="mixed", look="plain", motions=motions)
    events, rows = record_performer(1, "train", 0, part, staging)
    again, same = record_performer(1, "train", 0, part, staging)
    assert events_sha256(events) == events_sha256(again) and rows == same and (np.diff(events["t"]) >= 0).all()
    assert all(events["t"][0] >= 0 and a < b for _, a, b in rows)
    plain, _ = record_performer(1, "train", 0, part, Staging(motions=motions))
    assert events_sha256(plain) != events_sha256(events)


def test_the_note_of_a_set_says_how_it_is_shown_and_that_of_an_old_one_is_as_it_was(tmp_path: Path) -> None:
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    def begun(folder: Path, **options: Any) -> dict[str, Any]:
        """The note of a set that was stopped before its first recording."""
        with pytest.raises(KeyboardInterrupt):
            simulate_gesture(folder, train=1, test=1, workers=1, progress=stop, **options)
        return json.loads((folder / "simulated.json").read_text())["parameters"]

    old, new = begun(tmp_path / "old"), begun(tmp_path / "new", laws=2, view="near")
    assert set(old) == {"ranges", "window_us"} and {name: new[name] for name in set(new) - set(old)} == {
        "laws": 2,
        "view": "near",
    }
    with pytest.raises(PlifError, match="other parameters"):
        simulate_gesture(tmp_path / "old", train=1, test=1, workers=1, laws=2)


@pytest.mark.parametrize("query", ["laws=2", "view=near&gesture=1", "scene=moves", "scene=moves&view=cut&look=plain"])
def test_laws_views_and_moves_are_options_of_the_source(query: str) -> None:
    spec = f"sim:dvs128-gesture?seed=4&seconds=2.4&{query}"
    source = open_source(spec)
    events = np.concatenate(list(source.packets()))
    assert len(events) > 500 and (np.diff(events["t"]) >= 0).all() and events["t"][-1] <= 2_400_000
    assert events_sha256(events) == events_sha256(np.concatenate(list(open_source(spec).packets(999))))
    assert source.truth == [] or "moves" not in query
    with pytest.raises(PlifError, match="view='side', expected " + " or ".join(VIEWS)):
        open_source("sim:dvs128-gesture?view=side")


def test_a_pose_that_is_held_says_all_its_numbers() -> None:
    assert len(BodyPose().to_numbers()) == 10 and MoveMotion((1,), True, 3.0).joints_at(
        np.array([0.0, 99.0])
    ).shape == (2, 21, 3)
