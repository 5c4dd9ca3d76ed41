"""The eleven gestures of DVS128 Gesture as motion laws: a gesture and a random draw of its manner -> a pose at any time.

Directions are the person's own, as in the set: clockwise for the one who does it is counter-clockwise in the picture (seen
in a recording of the set). With theta growing, (cos theta, sin theta) goes clockwise in the picture, Y being down.

A manner is drawn once for a bout (how fast, how wide, where, which way of doing it); its phase then runs with a pace that
wavers. To change how a gesture is done, change its function here; each returns the two arms [T, 3, 3] and may move the
body. Frequencies in Hz, lengths in pixels at scale 1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from runtime.simulate.figure import FORE_PX, SHOULDER, Pose, reach, still, with_hand
from runtime.simulate.wander import Draw, wander

Doubles = npt.NDArray[np.float64]
Arms = tuple[Doubles, Doubles]

CLASSES = (
    "hand_clapping", "right_hand_wave", "left_hand_wave", "right_arm_clockwise", "right_arm_counter_clockwise",
    "left_arm_clockwise", "left_arm_counter_clockwise", "arm_roll", "air_drums", "air_guitar", "other_gestures",
)  # fmt: skip
# What a gesture becomes in a mirror.
MIRRORED = (0, 2, 1, 6, 5, 4, 3, 7, 8, 9, 10)


@dataclass
class Moment:
    """What a motion law works with: times, the phase that runs with the bout's pace, and the draw of its manner."""

    t_s: Doubles
    phase: Doubles  # radians, grows by 2 pi f a second
    draw: Draw
    pose: Pose
    slow: list[Doubles] = field(default_factory=list)  # four slow wanderings, about -1..1


Law = Callable[[Moment], Arms]


@dataclass(frozen=True)
class Manner:
    """One bout: which gesture, drawn from which seed. `pose` is the same for the same times, however they are cut."""

    gesture: int
    seed: tuple[int, ...]
    held_out: bool = False
    other: str | None = None  # of "other_gestures": which of OTHERS

    def pose(self, t_s: Doubles) -> Pose:
        """Poses at times since the bout began."""
        draw = Draw(self.seed, self.held_out)
        pose = still(len(t_s))
        name = CLASSES[self.gesture]
        low, high, law = LAWS[name]
        if name == "other_gestures":
            low, high, law = OTHERS[self.other or draw.pick(tuple(OTHERS))]
        pace = draw.within(low, high)
        phase = 2 * np.pi * (pace * t_s + 0.12 * wander(t_s, (*self.seed, 1), 0.6)) + draw.within(0, 2 * np.pi)
        slow = [wander(t_s, (*self.seed, 2 + k), 0.5) for k in range(4)]
        right, left = law(Moment(t_s, phase, draw, pose, slow))
        pose.arms[:, 0], pose.arms[:, 1] = right, left
        sway = draw.within(0.0, 0.8)
        pose.body[:, 0] += sway * slow[2] * 1.5
        pose.body[:, 1] += sway * slow[3] * 0.8 + draw.within(0, 0.9) * np.sin(phase)
        pose.head += draw.within(0.0, 1.1) * np.stack([slow[3], 0.6 * slow[2]], 1)
        return pose


def _space(x: npt.ArrayLike, y: npt.ArrayLike, z: npt.ArrayLike, like: Doubles) -> Doubles:
    """Three coordinates, each an array or a number -> [T, 3]."""
    return np.stack([np.broadcast_to(np.asarray(c, np.float64), like.shape) for c in (x, y, z)], axis=1)


def _arm(
    wrist: Doubles, side: float, bend: Doubles | float = 0.0, pole: tuple[float, float, float] | None = None
) -> Doubles:
    return with_hand(*reach(wrist, side, pole), bend)


def _hanging(moment: Moment, arm: int) -> Doubles:
    drift = moment.slow[arm] * 0.8
    found = moment.pose.arms[:, arm].copy()
    found[:, 1:, 0] += drift[:, None]
    return found


def _clapping(m: Moment) -> Arms:
    x, y, z = m.draw.within(-8, 8), m.draw.within(2, 30), m.draw.within(18, 34)
    wide, tilt = m.draw.within(5, 22), m.draw.within(-1.4, 1.4)  # palms meet from the sides, or one from above
    share = m.draw.within(0.0, 1.0)  # how much of it the right hand does
    sharp = m.draw.within(0.6, 1.4)
    apart = wide * (np.abs(np.sin(m.phase / 2)) ** sharp) * (1 + 0.15 * m.slow[0])
    bends = m.draw.within(0, 1.3), m.draw.within(0, 1.3)  # fingers point upwards
    arms = []
    for side, part, bend in ((-1.0, share, bends[0]), (1.0, 1 - share, bends[1])):
        away = side * (3.5 + 2 * part * apart)
        # forearms come from the sides, so the wrists stay a hand's width from the meeting point
        wrist = _space(x + away * np.cos(tilt) + side * 4, y + 3 + away * np.sin(tilt), z + 2 * m.slow[1], m.t_s)
        pole = (side * m.draw.within(0.3, 1.4), 1.0, m.draw.within(-0.8, 0.2))  # elbows at the sides, or lifted
        arms.append(_arm(wrist, side, bend=side * bend, pole=pole))
    return arms[0], arms[1]


def _wave(m: Moment, arm: int) -> Arms:
    side = (-1.0, 1.0)[arm]
    way = m.draw.pick(("forearm", "forearm", "arm", "hand"))
    swing = np.sin(m.phase) * (1 + 0.15 * m.slow[0])
    if way == "arm":
        wide = m.draw.within(8, 32)
        wrist = _space(
            side * (m.draw.within(26, 46) + wide * swing), m.draw.within(-38, -8) + 0.25 * wide * swing**2,
            m.draw.within(4, 22), m.t_s,
        )  # fmt: skip
        moving = _arm(wrist, side, bend=side * m.draw.within(0, 0.6) * swing)
    else:
        elbow = _space(
            side * (SHOULDER[0] + m.draw.within(5, 17)) + m.slow[1], m.draw.within(2, 26) + m.slow[2],
            m.draw.within(2, 14), m.t_s,
        )  # fmt: skip
        wide = m.draw.within(0.3, 0.85) if way == "forearm" else m.draw.within(0.12, 0.3)
        lean = m.draw.within(-0.15, 0.5) + wide * swing
        forward = m.draw.within(0, 0.5)
        along = _space(side * np.sin(lean), -np.cos(lean), forward, m.t_s)
        along /= np.linalg.norm(along, axis=1, keepdims=True)
        lag = np.sin(m.phase - m.draw.within(0, 0.9))
        bend = side * (m.draw.within(0, 0.35) if way == "forearm" else m.draw.within(0.35, 0.8)) * lag
        moving = with_hand(elbow, elbow + FORE_PX * along, bend)
    resting = _hanging(m, 1 - arm)
    return (moving, resting) if arm == 0 else (resting, moving)


def _circle(m: Moment, arm: int, clockwise: bool) -> Arms:
    side = (-1.0, 1.0)[arm]
    theta = -m.phase if clockwise else m.phase
    if m.draw.pick((True, True, False)):  # the whole arm
        rx, ry = m.draw.within(18, 42), m.draw.within(20, 50)
        x, y, z = m.draw.within(12, 40), m.draw.within(-24, 6), m.draw.within(2, 22)
    else:  # the forearm before the body or beside it
        rx = m.draw.within(9, 19)
        ry = rx * m.draw.within(0.75, 1.35)
        x, y, z = m.draw.within(4, 38), m.draw.within(-18, 24), m.draw.within(16, 30)
    grow = 1 + 0.12 * m.slow[0]
    tilt = m.draw.within(-0.5, 0.5)
    a, b = rx * grow * np.cos(theta), ry * grow * np.sin(theta)
    wrist = _space(
        side * x + a * np.cos(tilt) - b * np.sin(tilt), y + a * np.sin(tilt) + b * np.cos(tilt) + 2 * m.slow[1],
        z + m.draw.within(0, 8) * np.sin(theta), m.t_s,
    )  # fmt: skip
    moving = _arm(wrist, side, bend=m.draw.within(-0.4, 0.4))
    resting = _hanging(m, 1 - arm)
    return (moving, resting) if arm == 0 else (resting, moving)


def _roll(m: Moment) -> Arms:
    theta = m.phase * m.draw.pick((1.0, -1.0))
    y, z, rho = m.draw.within(6, 34), m.draw.within(16, 30), m.draw.within(6.5, 18)
    over, spread = m.draw.within(0, 14), m.draw.within(22, 33)
    follow, drop, tilt = m.draw.within(0.1, 0.7), m.draw.within(-8, 12), m.draw.within(-5, 5)
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, np.pi)):
        up, front = rho * np.cos(theta + ahead), rho * np.sin(theta + ahead)
        wrist = _space(-side * over + m.slow[0] + 2 * np.sin(theta), y - side * tilt + up, z + front, m.t_s)
        elbow = _space(side * spread, y + drop + side * tilt + follow * up, 8 + follow * front, m.t_s)
        along = wrist - elbow
        wrist = elbow + along * (FORE_PX / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), FORE_PX * 0.6))
        arms.append(with_hand(elbow, wrist, m.draw.within(-0.3, 0.3)))
    return arms[0], arms[1]


def _drums(m: Moment) -> Arms:
    """Strikes from the elbow, forearms up and down, or with the whole arm."""
    high = m.draw.within(10, 40)
    between = m.draw.pick((np.pi, np.pi, np.pi, np.pi * 0.7, np.pi * 0.5))
    sharp = m.draw.within(0.8, 1.6)
    from_elbow = m.draw.pick((True, False))
    up, down, inwards = m.draw.within(0.1, 0.9), m.draw.within(1.3, 2.4), m.draw.within(-0.3, 0.9)
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, between)):
        beat = m.phase + ahead
        lift = (0.5 + 0.5 * np.cos(beat)) ** sharp
        where = m.draw.within(0, 7) * m.slow[0 if side < 0 else 1]
        x, y = m.draw.within(10, 26) + where, m.draw.within(12, 38)
        z, bend = m.draw.within(14, 30), m.draw.within(-0.2, 0.5) * (1 + lift)
        if from_elbow:
            angle = down - (down - up) * lift  # from straight up
            along = _space(-side * np.sin(angle) * inwards, -np.cos(angle), np.sin(angle) * (1 - abs(inwards)), m.t_s)
            along /= np.linalg.norm(along, axis=1, keepdims=True)
            elbow = _space(side * (SHOULDER[0] + 0.4 * x) + 0.5 * where, 0.7 * y - 3 * lift, 0.3 * z, m.t_s)
            arms.append(with_hand(elbow, elbow + FORE_PX * along, -side * bend))
        else:
            arms.append(_arm(_space(side * x, y - high * lift, z - 6 * lift, m.t_s), side, bend=-side * bend))
    m.pose.head[:, 1] += m.draw.within(0, 1.5) * np.sin(m.phase)
    return arms[0], arms[1]


def _guitar(m: Moment) -> Arms:
    handed = m.draw.pick((1.0, 1.0, 1.0, 1.0, 1.0, -1.0))  # the strumming hand: right, or left
    strum = np.sin(m.phase) * (1 + 0.2 * m.slow[0])
    long, lean = m.draw.within(5, 15), m.draw.within(-0.5, 0.5)
    x, y = m.draw.within(-12, 10), m.draw.within(18, 42)
    strumming = _space(
        -handed * (x + long * strum * np.sin(lean)), y + long * strum * np.cos(lean), m.draw.within(14, 28), m.t_s
    )
    slide = m.draw.within(1, 6) * m.slow[1]
    neck = _space(
        handed * (m.draw.within(26, 46) + slide), m.draw.within(4, 30) - 0.4 * slide + m.slow[2],
        m.draw.within(8, 22), m.t_s,
    )  # fmt: skip
    plays = _arm(strumming, -handed, bend=0.5 * handed * strum)
    holds = _arm(neck, handed, bend=-handed * m.draw.within(0.5, 1.6) + 0.15 * m.slow[3])
    m.pose.body[:, :2] += m.draw.within(0, 1.5) * np.stack([m.slow[2], 0.5 * np.sin(m.phase / 2)], 1)
    m.pose.head[:, 1] += m.draw.within(0, 2) * np.sin(m.phase / 2)
    return (plays, holds) if handed > 0 else (holds, plays)


# --- everything else ----------------------------------------------------------------------------------------------------


def _both_wave(m: Moment) -> Arms:
    wide, y = m.draw.within(8, 24), m.draw.within(-40, -4)
    against = m.draw.pick((1.0, -1.0))
    arms = []
    for side, sign in ((-1.0, 1.0), (1.0, against)):
        x = side * m.draw.within(22, 38) + sign * wide * np.sin(m.phase)
        arms.append(_arm(_space(x, y + 4 * m.slow[0], 10, m.t_s), side))
    return arms[0], arms[1]


def _jumping(m: Moment) -> Arms:
    lift = 0.5 + 0.5 * np.cos(m.phase)
    angle = m.draw.within(0.3, 0.6) + m.draw.within(1.4, 2.3) * lift  # from hanging to above the head
    far = m.draw.within(40, 49)
    arms = []
    for side in (-1.0, 1.0):
        wrist = _space(side * (SHOULDER[0] + far * np.sin(angle)), SHOULDER[1] + far * np.cos(angle), 5, m.t_s)
        arms.append(_arm(wrist, side))
    m.pose.body[:, 1] += m.draw.within(0, 8) * np.abs(np.sin(m.phase / 2))
    return arms[0], arms[1]


def _punching(m: Moment) -> Arms:
    arms = []
    for side, ahead in ((-1.0, 0.0), (1.0, np.pi)):
        out = np.maximum(np.sin(m.phase + ahead), 0) ** 1.5
        wrist = _space(side * (14 - 8 * out), 8 - 8 * out + m.draw.within(-6, 10), 16 + 30 * out, m.t_s)
        arms.append(_arm(wrist, side))
    return arms[0], arms[1]


def _wandering(m: Moment) -> Arms:
    """Both hands, or one, go wherever they like."""
    alone = m.draw.pick((None, None, 0, 1))
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        if alone == 1 - arm:
            arms.append(_hanging(m, arm))
            continue
        seed, pace = m.draw.whole(), m.draw.within(0.7, 1.8)
        x, y, z = (wander(m.t_s, (seed, k), pace) for k in range(3))
        wrist = _space(side * m.draw.within(12, 30) + 20 * x, m.draw.within(0, 25) + 26 * y, 14 + 10 * z, m.t_s)
        arms.append(_arm(wrist, side, bend=0.4 * z))
    return arms[0], arms[1]


def _raising(m: Moment) -> Arms:
    """One arm or both go up and come down: forwards, sideways, to the head."""
    which = m.draw.pick((0, 1, 2))
    up = 0.5 - 0.5 * np.cos(m.phase)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        hanging = _hanging(m, arm)
        if which not in (arm, 2):
            arms.append(hanging)
            continue
        top = _space(side * m.draw.within(4, 44), m.draw.within(-42, 10), m.draw.within(4, 30), m.t_s)
        wrist = hanging[:, 1] + (top - hanging[:, 1]) * up[:, None]
        arms.append(_arm(wrist, side))
    return arms[0], arms[1]


def _body_only(m: Moment) -> Arms:
    """Bows, sways, nods: arms hang."""
    x, y = m.draw.within(0, 9), m.draw.within(0, 9)
    m.pose.body[:, 0] += x * np.sin(m.phase)
    m.pose.body[:, 1] += y * np.sin(m.phase + m.draw.within(0, 6))
    m.pose.head += m.draw.within(0, 4) * np.stack([np.sin(m.phase), np.cos(m.phase)], 1)
    return _hanging(m, 0), _hanging(m, 1)


def _walking(m: Moment) -> Arms:
    """A whole person who walks through the picture, far or near, towards the camera or away."""
    small = m.draw.within(0.25, 0.8)
    closer = m.draw.within(-0.12, 0.12) * small
    m.pose.body[:, 2] = np.clip(small + closer * m.t_s, 0.15, 1.2)
    m.pose.body[:, 0] += m.draw.within(-45, 45) + m.draw.within(-30, 30) * m.t_s
    m.pose.body[:, 1] += m.draw.within(-45, 5) + np.abs(2.5 * small * np.sin(m.phase))
    stride = m.draw.within(0.2, 0.6)
    m.pose.legs[:] = np.stack([stride * np.sin(m.phase), -stride * np.sin(m.phase)], 1)
    arms = []
    for arm, side in enumerate((-1.0, 1.0)):
        swing = -side * m.draw.within(4, 14) * np.sin(m.phase)
        hanging = _hanging(m, arm)
        hanging[:, 0, 2] += 0.5 * swing
        hanging[:, 1:, 2] += swing[:, None]
        hanging[:, 1:, 1] -= 0.2 * np.abs(swing)[:, None]
        arms.append(hanging)
    return arms[0], arms[1]


def _standing_up(m: Moment) -> Arms:
    low = m.draw.within(15, 55)
    up = 0.5 - 0.5 * np.cos(m.phase)
    m.pose.body[:, 1] += low * (1 - up)
    m.pose.body[:, 2] *= 1 + m.draw.within(-0.15, 0.15) * up
    m.pose.body[:, 0] += m.draw.within(-12, 12) * up
    return _hanging(m, 0), _hanging(m, 1)


def _near_hand(m: Moment) -> Arms:
    """One large arm from the side, the rest out of sight: what a hand before the lens looks like."""
    arm = m.draw.pick((0, 1))
    side = (-1.0, 1.0)[arm]
    big = m.draw.within(1.6, 2.8)
    m.pose.body[:, 2] *= big
    m.pose.body[:, 0] += -side * m.draw.within(-20, 50) + side * 60
    m.pose.body[:, 1] += m.draw.within(-25, 25)
    seed, pace = m.draw.whole(), m.draw.within(0.5, 1.6)
    x, y, z = (wander(m.t_s, (seed, k), pace) for k in range(3))
    wrist = _space(side * -10 + 7 * x, m.draw.within(-6, 10) + 8 * y, 6 + 6 * z, m.t_s)
    moving = _arm(wrist, side, bend=0.5 * z)
    resting = _hanging(m, 1 - arm)
    return (moving, resting) if arm == 0 else (resting, moving)


OTHERS: dict[str, tuple[float, float, Law]] = {
    "both arms wave": (0.8, 2.6, _both_wave),
    "jumping jack": (0.5, 1.6, _jumping),
    "punching": (0.8, 2.5, _punching),
    "wandering hands": (0.5, 1.5, _wandering),
    "wandering hands, again": (0.5, 1.5, _wandering),
    "raising an arm": (0.25, 1.0, _raising),
    "raising an arm, again": (0.25, 1.0, _raising),
    "body only": (0.3, 1.6, _body_only),
    "walking": (0.6, 1.3, _walking),
    "walking, again": (0.6, 1.3, _walking),
    "standing up": (0.15, 0.5, _standing_up),
    "near hand": (0.3, 1.0, _near_hand),
}

# Gesture -> slowest, fastest, how it goes.
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
    "other_gestures": (0.0, 0.0, _wandering),
}
