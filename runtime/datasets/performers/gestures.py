"""The gestures of DVS128 Gesture as motion laws: the arms at any time. `other_gestures` is in other_gestures.py.

Directions are those of the person, as in the set: clockwise for the person is counter-clockwise in the picture (seen
in a recording of the set). When theta grows, (cos theta, sin theta) goes clockwise in the picture, since Y points down.

A law draws its parameters once for a bout (speed, width, place, variant); its phase then advances at a pace that
varies a little. To change a gesture, change its function here; each returns the two arms, float64 [T, 3, 3], and may
move the body. Frequencies are in Hz, lengths in pixels at scale 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.datasets.performers.figure import FORE_PX, HAND_PX, SHOULDER, UPPER_PX, Pose, add_hand, solve_arm
from runtime.datasets.performers.wander import ParameterDraws

Doubles = npt.NDArray[np.float64]
Arms = tuple[Doubles, Doubles]

# The class of each gesture after mirroring.
MIRRORED = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)


@dataclass
class LawInput:
    """The input of a function that computes the arms' motion in a gesture: T times, phase, random parameters."""

    t_s: Doubles  # [T], seconds since the bout began
    phase: Doubles  # [T], radians, grows by 2 pi f a second
    draw: ParameterDraws
    pose: Pose
    slow: list[Doubles] = field(default_factory=list)  # four slow random functions of time, each [T], about -1..1
    wide: bool = False  # with the ranges of recorded people (WIDE_PACES), not those of the set

    def draw_range(self, usual: tuple[float, float], wide: tuple[float, float]) -> float:
        return self.draw.within(*(wide if self.wide else usual))


Law = Callable[[LawInput], Arms]


def stack_points(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike, like: Doubles) -> Doubles:
    """Stack three coordinates, each an array [T] or a number, to points float64 [T, 3]; `like` gives T."""
    return np.stack([np.broadcast_to(np.asarray(c, np.float64), like.shape) for c in (x, y, z)], axis=1)


def pose_arm(
    wrist: Doubles, side: float, bend: Doubles | float = 0.0, pole: tuple[float, float, float] | None = None
) -> Doubles:
    """Return a person's arm [T, 3, 3] with its wrist at a position [T, 3] and the hand bent by `bend` radians."""
    return add_hand(*solve_arm(wrist, side, pole), bend)


def hang_arm(moment: LawInput, arm: int) -> Doubles:
    """Return a person's arm [T, 3, 3] that hangs and moves only with the body's slow sway."""
    drift = moment.slow[arm] * 0.8
    joints: Doubles = moment.pose.arms[:, arm].copy()
    joints[:, 1:, 0] += drift[:, None]
    return joints


def add_hanging_arm(moment: LawInput, arm: int, moving: Doubles) -> Arms:
    """Return both arms of a person: the arm number `arm` moves as `moving` [T, 3, 3], the other one hangs."""
    resting = hang_arm(moment, 1 - arm)
    return (moving, resting) if arm == 0 else (resting, moving)


def walk(m: LawInput, steps: tuple[float, float], swings: tuple[float, float], lift: float = 0.0) -> Arms:
    """Move the legs of a simulated walking person, and return the swinging arms.

    steps, swings  ranges to draw from      lift  rise of a swinging arm
    """
    stride = m.draw.within(*steps)
    m.pose.legs[:] = np.stack([stride * np.sin(m.phase), -stride * np.sin(m.phase)], 1)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        swing = -side * m.draw.within(*swings) * np.sin(m.phase)
        hanging = hang_arm(m, arm)
        hanging[:, 0, 2] += 0.5 * swing
        hanging[:, 1:, 2] += swing[:, None]
        hanging[:, 1:, 1] -= lift * np.abs(swing)[:, None]
        arms.append(hanging)
    return arms[0], arms[1]


def _clapping(m: LawInput) -> Arms:
    x, y, z = m.draw.within(-8, 8), m.draw_range((2, 30), (-34, 34)), m.draw_range((18, 34), (10, 36))
    wide, tilt = (
        m.draw_range((5, 22), (3, 28)),
        m.draw.within(-1.4, 1.4),
    )  # palms meet sideways, or one comes from above
    share = m.draw.within(0.0, 1.0)  # the right hand's part of the movement
    sharp = m.draw.within(0.6, 1.4)
    apart = wide * (np.abs(np.sin(m.phase / 2)) ** sharp) * (1 + 0.15 * m.slow[0])
    bends = m.draw.within(0, 1.3), m.draw.within(0, 1.3)  # the fingers point upwards
    arms = []
    for side, part, bend in ((-1.0, share, bends[0]), (1.0, 1 - share, bends[1])):
        away = side * (3.5 + 2 * part * apart)
        # forearms come from the sides, so the wrists stay a hand's width from the meeting point
        wrist = stack_points(x + away * np.cos(tilt) + side * 4, y + 3 + away * np.sin(tilt), z + 2 * m.slow[1], m.t_s)
        pole = (side * m.draw.within(0.3, 1.4), 1.0, m.draw.within(-0.8, 0.2))  # elbows at the sides, or lifted
        arms.append(pose_arm(wrist, side, bend=side * bend, pole=pole))
    return arms[0], arms[1]


def _wide_wave(m: LawInput, arm: int) -> Arms:
    """Return the arms of a waving person, with the range of movement of recorded people.

    The elbow is at any height, above the shoulder in half of them, and moves along, so that the hand is next to or
    above the head; or only the wrist moves, in front of the chest or next to the head, with the forearm still.
    """
    side = (-1.0, 1.0)[arm]
    way = m.draw.pick(("forearm", "forearm", "arm", "wrist"))
    swing, lag = np.sin(m.phase) * (1 + 0.15 * m.slow[0]), np.sin(m.phase - m.draw.within(0, 0.9))
    if way == "wrist":
        x, y, z = m.draw.within(-4, 40), m.draw.within(-34, 30), m.draw.within(12, 30)
        elbow, wrist = solve_arm(stack_points(side * x + m.slow[1], y + m.slow[2], z, m.t_s), side)
        lean = side * m.draw.within(-0.3, 0.5) + m.draw.within(0.3, 0.9) * swing
        along = _unit_direction(np.sin(lean), np.cos(lean), m.draw.within(0, 0.5), m)
        return add_hanging_arm(m, arm, np.stack([elbow, wrist, wrist + HAND_PX * along], 1))
    up = (
        m.draw.within(0.6, 2.6) + 0.05 * m.slow[1]
    )  # angle of the upper arm from hanging; above the shoulder from pi / 2 on
    up = up + m.draw.within(0.0, 0.12) * lag if way == "forearm" else up + m.draw.within(0.12, 0.45) * swing
    upper = _unit_direction(side * np.sin(up), -np.cos(up), m.draw.within(0.0, 0.7), m)
    elbow = stack_points(side * SHOULDER[0], SHOULDER[1], 0, m.t_s) + UPPER_PX * upper
    lean = m.draw.within(-0.35, 0.5) + (m.draw.within(0.2, 0.85) if way == "forearm" else m.draw.within(0, 0.3)) * swing
    along = _unit_direction(side * np.sin(lean), np.cos(lean), m.draw.within(0, 0.6), m)
    return add_hanging_arm(m, arm, add_hand(elbow, elbow + FORE_PX * along, side * m.draw.within(0, 0.45) * lag))


def _unit_direction(x: npt.ArrayLike, up: npt.ArrayLike, forward: float, m: LawInput) -> Doubles:
    """Return directions [T, 3] of length 1 from their components."""
    direction = stack_points(x, -np.asarray(up), forward, m.t_s)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction


def _wave(m: LawInput, arm: int) -> Arms:
    if m.wide:
        return _wide_wave(m, arm)
    side = (-1.0, 1.0)[arm]
    way = m.draw.pick(("forearm", "forearm", "arm", "hand"))
    swing = np.sin(m.phase) * (1 + 0.15 * m.slow[0])
    if way == "arm":
        wide = m.draw.within(8, 32)
        wrist = stack_points(
            side * (m.draw.within(26, 46) + wide * swing), m.draw.within(-38, -8) + 0.25 * wide * swing**2,
            m.draw.within(4, 22), m.t_s,
        )  # fmt: skip
        moving = pose_arm(wrist, side, bend=side * m.draw.within(0, 0.6) * swing)
    else:
        elbow = stack_points(
            side * (SHOULDER[0] + m.draw.within(5, 17)) + m.slow[1], m.draw.within(2, 26) + m.slow[2],
            m.draw.within(2, 14), m.t_s,
        )  # fmt: skip
        wide = m.draw.within(0.3, 0.85) if way == "forearm" else m.draw.within(0.12, 0.3)
        lean = m.draw.within(-0.15, 0.5) + wide * swing
        forward = m.draw.within(0, 0.5)
        along = stack_points(side * np.sin(lean), -np.cos(lean), forward, m.t_s)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        lag = np.sin(m.phase - m.draw.within(0, 0.9))
        bend = side * (m.draw.within(0, 0.35) if way == "forearm" else m.draw.within(0.35, 0.8)) * lag
        moving = add_hand(elbow, elbow + FORE_PX * along, bend)
    return add_hanging_arm(m, arm, moving)


def _circle(m: LawInput, arm: int, clockwise: bool) -> Arms:
    side = (-1.0, 1.0)[arm]
    theta = -m.phase if clockwise else m.phase
    if m.draw.pick((True, True, False)):  # the whole arm
        rx, ry = m.draw_range((18, 42), (14, 44)), m.draw_range((20, 50), (14, 52))
        x, y, z = m.draw_range((12, 40), (6, 46)), m.draw_range((-24, 6), (-40, 14)), m.draw_range((2, 22), (2, 28))
    else:  # the forearm in front of the body or next to it
        rx = m.draw_range((9, 19), (6, 19))
        ry = rx * m.draw.within(0.75, 1.35)
        x, y, z = m.draw_range((4, 38), (0, 44)), m.draw_range((-18, 24), (-40, 30)), m.draw_range((16, 30), (8, 34))
    grow = 1 + 0.12 * m.slow[0]
    tilt = m.draw.within(-0.5, 0.5)
    a, b = rx * grow * np.cos(theta), ry * grow * np.sin(theta)
    wrist = stack_points(
        side * x + a * np.cos(tilt) - b * np.sin(tilt), y + a * np.sin(tilt) + b * np.cos(tilt) + 2 * m.slow[1],
        z + m.draw.within(0, 8) * np.sin(theta), m.t_s,
    )  # fmt: skip
    moving = pose_arm(wrist, side, bend=m.draw.within(-0.4, 0.4))
    return add_hanging_arm(m, arm, moving)


def _roll(m: LawInput) -> Arms:
    theta = m.phase * m.draw.pick((1.0, -1.0))
    y, z, rho = m.draw_range((6, 34), (-14, 38)), m.draw_range((16, 30), (12, 34)), m.draw_range((6.5, 18), (4.5, 20))
    over, spread = m.draw.within(0, 14), m.draw.within(22, 33)
    follow, drop, tilt = m.draw.within(0.1, 0.7), m.draw.within(-8, 12), m.draw.within(-5, 5)
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, np.pi)):
        up, front = rho * np.cos(theta + ahead), rho * np.sin(theta + ahead)
        wrist = stack_points(-side * over + m.slow[0] + 2 * np.sin(theta), y - side * tilt + up, z + front, m.t_s)
        elbow = stack_points(side * spread, y + drop + side * tilt + follow * up, 8 + follow * front, m.t_s)
        along = wrist - elbow
        wrist = elbow + along * (FORE_PX / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), FORE_PX * 0.6))
        arms.append(add_hand(elbow, wrist, m.draw.within(-0.3, 0.3)))
    return arms[0], arms[1]


def _drums(m: LawInput) -> Arms:
    """Return the arms of a person who plays air drums, with forearms or whole arms."""
    high = m.draw_range((10, 40), (6, 46))
    between = m.draw.pick((np.pi, np.pi, np.pi, np.pi * 0.7, np.pi * 0.5))
    sharp = m.draw.within(0.8, 1.6)
    from_elbow = m.draw.pick((True, False))
    up, down, inwards = m.draw.within(0.1, 0.9), m.draw.within(1.3, 2.4), m.draw.within(-0.3, 0.9)
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, between)):
        beat = m.phase + ahead
        lift = (0.5 + 0.5 * np.cos(beat)) ** sharp
        shift = m.draw.within(0, 7) * m.slow[0 if side < 0 else 1]
        x, y = m.draw_range((10, 26), (4, 36)) + shift, m.draw_range((12, 38), (-8, 44))
        z, bend = m.draw.within(14, 30), m.draw.within(-0.2, 0.5) * (1 + lift)
        if from_elbow:
            angle = down - (down - up) * lift  # 0 is straight up
            along = stack_points(
                -side * np.sin(angle) * inwards, -np.cos(angle), np.sin(angle) * (1 - abs(inwards)), m.t_s
            )
            along /= np.linalg.norm(along, axis=1, keepdims=True)
            elbow = stack_points(side * (SHOULDER[0] + 0.4 * x) + 0.5 * shift, 0.7 * y - 3 * lift, 0.3 * z, m.t_s)
            arms.append(add_hand(elbow, elbow + FORE_PX * along, -side * bend))
        else:
            arms.append(pose_arm(stack_points(side * x, y - high * lift, z - 6 * lift, m.t_s), side, bend=-side * bend))
    m.pose.head[:, 1] += m.draw.within(0, 1.5) * np.sin(m.phase)
    return arms[0], arms[1]


def _guitar(m: LawInput) -> Arms:
    handed = m.draw.pick((1.0, 1.0, 1.0, 1.0, 1.0, -1.0))  # the strumming hand: right, or left
    strum = np.sin(m.phase) * (1 + 0.2 * m.slow[0])
    long, lean = m.draw.within(5, 15), m.draw.within(-0.5, 0.5)
    x, y = m.draw.within(-12, 10), m.draw.within(18, 42)
    strumming = stack_points(
        -handed * (x + long * strum * np.sin(lean)), y + long * strum * np.cos(lean), m.draw.within(14, 28), m.t_s
    )
    slide = m.draw.within(1, 6) * m.slow[1]
    neck = stack_points(
        handed * (m.draw.within(26, 46) + slide), m.draw.within(4, 30) - 0.4 * slide + m.slow[2],
        m.draw.within(8, 22), m.t_s,
    )  # fmt: skip
    plays = pose_arm(strumming, -handed, bend=0.5 * handed * strum)
    holds = pose_arm(neck, handed, bend=-handed * m.draw.within(0.5, 1.6) + 0.15 * m.slow[3])
    m.pose.body[:, :2] += m.draw.within(0, 1.5) * np.stack([m.slow[2], 0.5 * np.sin(m.phase / 2)], 1)
    m.pose.head[:, 1] += m.draw.within(0, 2) * np.sin(m.phase / 2)
    return (plays, holds) if handed > 0 else (holds, plays)


# Gesture -> slowest and fastest pace in Hz, law.
LAWS: dict[str, tuple[float, float, Law]] = {
    "hand_clapping": (1.4, 3.8, _clapping),
    "right_hand_wave": (1.1, 3.4, lambda m: _wave(m, 0)),
    "left_hand_wave": (1.1, 3.4, lambda m: _wave(m, 1)),
    "right_arm_clockwise": (0.55, 1.7, lambda m: _circle(m, 0, True)),
    "right_arm_counter_clockwise": (0.55, 1.7, lambda m: _circle(m, 0, False)),
    "left_arm_clockwise": (0.55, 1.7, lambda m: _circle(m, 1, True)),
    "left_arm_counter_clockwise": (0.55, 1.7, lambda m: _circle(m, 1, False)),
    "arm_roll": (1.0, 3.2, _roll),
    "air_drums": (1.2, 3.6, _drums),
    "air_guitar": (1.4, 4.5, _guitar),
}
CLASSES = (*LAWS, "other_gestures")  # of DVS128 Gesture, in its order
# The paces of recorded people: from half as fast on.
WIDE_PACES: dict[str, tuple[float, float]] = {
    "hand_clapping": (0.8, 3.8),
    **dict.fromkeys(("right_hand_wave", "left_hand_wave"), (0.45, 2.2)),
    **dict.fromkeys(("right_arm_clockwise", "right_arm_counter_clockwise"), (0.3, 1.6)),
    **dict.fromkeys(("left_arm_clockwise", "left_arm_counter_clockwise"), (0.3, 1.6)),
    "arm_roll": (0.6, 3.0),
    "air_drums": (0.7, 3.6),
    "air_guitar": (0.8, 4.5),
}
